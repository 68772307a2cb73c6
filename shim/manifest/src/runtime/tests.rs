use super::*;

/// The mistakes of a text, one a line.
#[track_caller]
fn mistakes(text: &str) -> String {
    let faults = read(text, "r.toml").expect_err("it has mistakes");
    faults.to_string()
}

#[track_caller]
fn config(text: &str) -> RuntimeConfig {
    read(text, "r.toml").unwrap_or_else(|faults| panic!("{faults}"))
}

fn url(text: &str) -> ServiceUrl {
    ServiceUrl::parse(text, &["http", "https", "redis", "postgres"]).expect("a URL")
}

#[test]
fn an_empty_file_sets_nothing() {
    assert_eq!(config(""), RuntimeConfig::default());
    assert_eq!(
        config("state_dir = ''\nlog_dir = ''"),
        RuntimeConfig::default()
    );
}

#[test]
fn every_key_is_read() {
    let read = config(include_str!(
        "../../../../tests/fixtures/runtime-config.toml"
    ));
    let providers = vec![
        VariablesProvider::Env {
            prefix: Some("SHOP".into()),
            dotenv_path: Some("shop.env".into()),
        },
        VariablesProvider::Static {
            values: BTreeMap::from([("mode".into(), Secret::new("s3cret"))]),
        },
        VariablesProvider::Files {
            path: "/etc/shop".into(),
        },
        VariablesProvider::Vault(Vault {
            url: url("https://vault:8200"),
            token: Secret::new("s3cret"),
            mount: "secret".into(),
            prefix: Some("team/shop".into()),
        }),
        VariablesProvider::AzureKeyVault(AzureKeyVault {
            vault_url: url("https://shop.vault.azure.net"),
            client: Some(AzureClient {
                client_id: "id".into(),
                client_secret: Secret::new("s3cret"),
                tenant_id: "tenant".into(),
            }),
            authority_host: AzureCloud::Government,
        }),
    ];
    let key_value_stores = BTreeMap::from([
        (
            "file".to_owned(),
            KeyValueStore::Spin {
                path: Some("kv.db".into()),
            },
        ),
        ("memory".to_owned(), KeyValueStore::Spin { path: None }),
        (
            "cache".to_owned(),
            KeyValueStore::Redis {
                url: url("redis://:s3cret@cache:6379/1"),
                prefix: Some("shop:".into()),
            },
        ),
        (
            "shared".to_owned(),
            KeyValueStore::Postgres {
                url: url("postgres://shop:s3cret@db/shop"),
                table: Some("items".into()),
            },
        ),
        (
            "cosmos".to_owned(),
            KeyValueStore::AzureCosmos {
                account: "shop".into(),
                database: "db".into(),
                container: "items".into(),
                key: Some(Secret::new("s3cret")),
            },
        ),
        (
            "dynamo".to_owned(),
            KeyValueStore::AwsDynamo {
                region: "eu-central-1".into(),
                table: "items".into(),
                credentials: Some(AwsCredentials {
                    access_key: Secret::new("s3cret-id"),
                    secret_key: Secret::new("s3cret"),
                    token: None,
                }),
                consistent_read: true,
            },
        ),
    ]);
    let sqlite_databases = BTreeMap::from([
        (
            "default".to_owned(),
            SqliteDatabase::Spin {
                path: Some("app.db".into()),
                allow_attach_file: true,
            },
        ),
        (
            "remote".to_owned(),
            SqliteDatabase::Libsql {
                url: url("https://db.example.com"),
                token: Secret::new("s3cret"),
            },
        ),
    ]);
    let expected = RuntimeConfig {
        state_dir: Some("/state".into()),
        log_dir: Some("/logs".into()),
        max_instance_memory: Some(67_108_864),
        variables_providers: providers,
        key_value_stores,
        sqlite_databases,
        llm_compute: Some(LlmCompute::RemoteHttp {
            url: url("https://llm.example.com"),
            auth_token: Secret::new("s3cret"),
            api: LlmApi::OpenAi,
        }),
        client_tls: vec![ClientTls {
            component_ids: ["web".to_owned()].into(),
            hosts: ["api.example.com".to_owned(), "10.0.0.1".to_owned()].into(),
            ca_use_platform_roots: Some(false),
            ca_use_webpki_roots: Some(true),
            ca_roots_file: Some("ca.pem".into()),
            client: Some(ClientCertificate {
                cert_file: "cert.pem".into(),
                private_key_file: "key.pem".into(),
            }),
        }],
        outbound_networking: Some(OutboundNetworking {
            block_networks: vec![
                BlockedNetwork::Private,
                BlockedNetwork::Range(Network::parse("1.2.3.0/24").expect("a network")),
            ],
            max_socket_connections: Some(10),
            max_total_connections: Some(100),
        }),
        outbound_http: Some(OutboundHttp {
            connection_pooling: true,
            max_connections: Some(50),
        }),
        outbound_redis: Some(OutboundConnections {
            max_connections: Some(1),
        }),
        outbound_pg: Some(OutboundConnections {
            max_connections: Some(2),
        }),
        outbound_mysql: Some(OutboundConnections {
            max_connections: None,
        }),
        outbound_mqtt: Some(OutboundMqtt {
            max_connections: Some(3),
            max_payload_size_bytes: Some(1024),
        }),
    };
    assert_eq!(read, expected);
    let shown = format!("{read:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("redis://cache:6379/1"), "{shown}");
}

#[test]
fn unknown_keys_are_told_with_their_place_at_every_level() {
    assert_eq!(
        mistakes("state_dri = 'x'\n[outbound_http]\nmax_conections = 1"),
        "r.toml:1:1: runtime configuration: `state_dri` is not a known field; expected one of \
         `state_dir`, `log_dir`, `max_instance_memory`, `variables_provider`, `config_provider`, \
         `key_value_store`, `sqlite_database`, `llm_compute`, `client_tls`, `outbound_networking`, \
         `outbound_http`, `outbound_redis`, `outbound_pg`, `outbound_mysql`, `outbound_mqtt`\n\
         r.toml:3:1: runtime configuration: `outbound_http.max_conections` is not a known field; \
         expected one of `connection_pooling`, `max_connections`, `max_concurrent_requests`"
    );
    let unknown = mistakes("[key_value_store.a]\ntype = 'spin'\nurl = 'redis://x'");
    assert!(
        unknown.starts_with("r.toml:3:1: runtime configuration: `key_value_store.a.url`"),
        "{unknown}"
    );
}

#[test]
fn kinds_that_nobody_knows_are_told_with_those_that_are() {
    for (text, expected) in [
        (
            "[key_value_store.a]\ntype = 'mongo'",
            "`key_value_store.a.type` must be one of `spin`, `redis`, `postgres`, `azure_cosmos`, `aws_dynamo`",
        ),
        (
            "[key_value_store.a]\npath = 'x'",
            "`key_value_store.a.type` is missing",
        ),
        (
            "[sqlite_database.a]\ntype = 1",
            "`sqlite_database.a.type` must be a string, not an integer",
        ),
        (
            "[[variables_provider]]\ntype = 'consul'",
            "`variables_provider[0].type` must be one of",
        ),
        (
            "[llm_compute]\ntype = 'gpu'",
            "`llm_compute.type` must be one of `spin`, `remote_http`",
        ),
    ] {
        let told = mistakes(text);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn what_is_wrong_with_a_value_is_told_without_the_value() {
    for (text, expected) in [
        (
            "[key_value_store.a]\ntype = 'redis'\nurl = 'http://:s3cret@x'",
            "3:7: runtime configuration: `key_value_store.a.url` must be a URL with a host that begins with `redis://` or `rediss://`",
        ),
        (
            "[key_value_store.a]\ntype = 'redis'\nurl = 's3cret'",
            "must be a URL",
        ),
        (
            "[key_value_store.a]\ntype = 'redis'\nurl = 'redis://:s3cret@x/notadb'",
            "3:7: runtime configuration: `key_value_store.a.url` must have the number of a database as its path, such as `/0`, or none",
        ),
        (
            "[key_value_store.a]\ntype = 'redis'\nurl = 'redis://x/12345678901'",
            "must have the number of a database",
        ),
        (
            "[key_value_store.a]\ntype = 'spin'\npath = '.'",
            "3:8: runtime configuration: `key_value_store.a.path` must be the path of a file, not of a folder",
        ),
        (
            "[key_value_store.a]\ntype = 'spin'\npath = ''",
            "`key_value_store.a.path` must not be empty",
        ),
        (
            "[sqlite_database.a]\ntype = 'spin'\npath = '/data/'",
            "3:8: runtime configuration: `sqlite_database.a.path` must be the path of a file",
        ),
        (
            "[key_value_store.a]\ntype = 'postgres'\nurl = 'postgres://x'\ntable = ''",
            "4:9: runtime configuration: `key_value_store.a.table` must not be empty",
        ),
        (
            "[key_value_store.a]\ntype = 'postgres'\nurl = 'postgres://x'\ntable = 'schema.'",
            "4:9: runtime configuration: `key_value_store.a.table` must be the name of a table",
        ),
        (
            "[key_value_store.a]\ntype = 'postgres'\nurl = 'postgres://x'\ntable = 'a.b.c'",
            "`key_value_store.a.table` must be the name of a table",
        ),
        (
            "[sqlite_database.a]\ntype = 'libsql'\nurl = 'libsql://x'\ntoken = 's3cret'",
            "begins with `http://` or `https://`",
        ),
        (
            "[sqlite_database.a]\ntype = 'libsql'\nurl = 'http://x'\ntoken = 99999999999999999999993",
            "is too large for 64 bits",
        ),
        (
            "[sqlite_database.a]\ntype = 'libsql'\nurl = 'http://x'\ntoken = s3cret",
            "r.toml:4:",
        ),
        (
            "[sqlite_database.a]\ntype = 'libsql'\nurl = 'http://x'\ntoken = ''",
            "`sqlite_database.a.token` must not be empty",
        ),
        (
            "[sqlite_database.a]\ntype = 'libsql'\nurl = 'http://x'",
            "`sqlite_database.a.token` is missing",
        ),
        (
            "[[variables_provider]]\ntype = 'static'\nvalues = { a = 1, 'B' = 's3cret' }",
            "`variables_provider[0].values.a` must be a string, not an integer",
        ),
        (
            "[[variables_provider]]\ntype = 'static'\nvalues = { B = 's3cret' }",
            "is not a name",
        ),
        (
            "[[variables_provider]]\ntype = 'vault'\nurl = 'http://v'\ntoken = 's3cret'\nmount = 'a/../b'",
            "`variables_provider[0].mount` must be a path",
        ),
        (
            "[[variables_provider]]\ntype = 'azure_key_vault'\nvault_url = 'https://v'\nclient_id = 'x'",
            "must have all of `client_id`, `client_secret` and `tenant_id`, or none",
        ),
        (
            "[[variables_provider]]\ntype = 'azure_key_vault'\nvault_url = 'https://v'\nauthority_host = 'Mars'",
            "must be one of `AzurePublicCloud`",
        ),
        (
            "[key_value_store.a]\ntype = 'aws_dynamo'\nregion = 'x'\ntable = 'x'\nsecret_key = 's3cret'",
            "must have both `access_key` and `secret_key`, or none",
        ),
        (
            "max_instance_memory = 0",
            "must be a whole number from 1 on",
        ),
        (
            "max_instance_memory = -1",
            "must be a whole number from 1 on",
        ),
        (
            "max_instance_memory = '64Mi'",
            "must be a whole number, not a string",
        ),
        (
            "[outbound_networking]\nblock_networks = ['10.0.0.1']",
            "must be a range of addresses such as `10.0.0.0/8`, or `private`",
        ),
        (
            "[outbound_http]\nmax_connections = 1\nmax_concurrent_requests = 1",
            "is the old form of `max_connections`",
        ),
        (
            "[[client_tls]]\ncomponent_ids = ['a']\nhosts = ['x:443']",
            "`client_tls[0].hosts[0]` must be a name or an address",
        ),
        (
            "[[client_tls]]\ncomponent_ids = ['a']\nhosts = []",
            "must name `component_ids` and `hosts`",
        ),
        (
            "[[client_tls]]\ncomponent_ids = ['a']\nhosts = ['x']\nclient_cert_file = 'c'",
            "must have both `client_cert_file` and `client_private_key_file`, or none",
        ),
        (
            "[key_value_store.'a b']\ntype = 'spin'",
            "neither kebab-case nor snake_case",
        ),
        (
            "[[key_value_store]]\ntype = 'spin'",
            "`key_value_store` must be a table, not a list",
        ),
        (
            "variables_provider = []\n[[config_provider]]\ntype = 'env'",
            "is the old name of `variables_provider`",
        ),
        (
            "state_dir = 1",
            "`state_dir` must be a string, not an integer",
        ),
        ("a = ", "r.toml:1:"),
    ] {
        let told = mistakes(text);
        assert!(told.contains(expected), "{text}\n{told}");
        assert!(
            !told.contains("s3cret") && !told.contains("99993"),
            "{told}"
        );
    }
}

#[test]
fn old_names_mean_what_they_meant() {
    let read = config("[[config_provider]]\ntype = 'env'\nprefix = ''");
    let provider = VariablesProvider::Env {
        prefix: None,
        dotenv_path: None,
    };
    assert_eq!(read.variables_providers, [provider]);
    let read = config("[outbound_http]\nmax_concurrent_requests = 4\nconnection_pooling = false");
    let http = OutboundHttp {
        connection_pooling: false,
        max_connections: Some(5),
    };
    assert_eq!(read.outbound_http, Some(http));
}

#[test]
fn a_service_is_shown_without_what_is_secret_in_its_url() {
    let shown = url("postgres://me:s3cret@db:5433/shop?password=s3cret#s3cret").to_string();
    assert_eq!(shown, "postgres://db:5433/shop");
    assert_eq!(
        format!("{:?}", url("https://token@[::1]/")),
        "https://[::1]"
    );
    assert_eq!(format!("{:?}", Secret::new("s3cret")), "(hidden)");
}
