use super::*;

const MANIFEST: &str = "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"web\"\n[component.web]\nsource = \"web.wasm\"\n";

/// The stores of an application with these grants and this configuration.
fn stores(grants: &str, config: &str, folder: Option<&Path>) -> Result<Stores, String> {
    let manifest = format!("{MANIFEST}{grants}");
    let manifest = skiff_manifest::toml::read(&manifest, "spin.toml").unwrap();
    let config = runtime::read(config, "runtime-config.toml").unwrap();
    let sources = Sources {
        settings: &StoreSettings::default(),
        config: &config,
        beside: &|path| PathBuf::from("/proc/none").join(path),
        folder,
        authorities: &Authorities::default(),
        http: &|| Arc::new(skiff_backend_http::Client::new(Default::default())),
    };
    let made = Stores::new(&manifest, &sources);
    made.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

#[test]
fn only_listed_stores_are_made() {
    let config = "[key_value_store.other]\ntype = \"aws_dynamo\"\nregion = \"r\"\ntable = \"t\"\n";
    let none = stores("", config, None).unwrap();
    assert!(none.key_value.is_empty() && none.databases.is_empty());
}

#[test]
fn each_type_is_made_or_refused_by_name() {
    let grant = "key_value_stores = [\"x\"]\nsqlite_databases = [\"x\"]\n";
    let database = "[sqlite_database.x]\ntype = \"spin\"\n";
    for store in [
        "type = \"redis\"\nurl = \"redis://:hunter2@cache\"",
        "type = \"postgres\"\nurl = \"postgres://u:hunter2@db/d\"",
        "type = \"redis\"\nurl = \"rediss://:hunter2@cache\"",
        "type = \"postgres\"\nurl = \"postgres://u:hunter2@db/d?sslmode=require\"",
        "type = \"spin\"",
    ] {
        let config = format!("{database}[key_value_store.x]\n{store}\n");
        let made = stores(grant, &config, None).unwrap();
        assert_eq!(made.key_value.len() + made.databases.len(), 2);
        let shown = format!("{made:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    for (store, reason) in [
        (
            "type = \"azure_cosmos\"\naccount = \"a\"\ndatabase = \"d\"\ncontainer = \"c\"",
            "azure_cosmos",
        ),
        (
            "type = \"aws_dynamo\"\nregion = \"r\"\ntable = \"t\"",
            "aws_dynamo",
        ),
        (
            "type = \"postgres\"\nurl = \"postgres://u:hunter2@db/d?sslmode=allow\"",
            "`sslmode`",
        ),
        (
            "type = \"redis\"\nurl = \"rediss://:hunter2@cache#insecure\"",
            "always checked",
        ),
        ("type = \"spin\"\npath = \"a/b.db\"", "`/proc/none/a`"),
        (
            "type = \"spin\"\npath = \"/dev/shm\"",
            "its `path` has to name a file, and `/dev/shm` is a folder",
        ),
        (
            "type = \"postgres\"\nurl = \"postgres://u:hunter2@db/d?sslrootcert=ca.pem\"",
            "`sslrootcert` of its URL must be an absolute path",
        ),
    ] {
        let config = format!("{database}[key_value_store.x]\n{store}\n");
        let refused = stores(grant, &config, None).unwrap_err();
        for part in ["`web`", "key-value store `x`", reason] {
            assert!(refused.contains(part), "{part} is not in {refused}");
        }
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    let libsql = |token: &str| {
        let memory = "[key_value_store.x]\ntype = \"spin\"\n";
        let config = format!(
            "{memory}[sqlite_database.x]\ntype = \"libsql\"\nurl = \"https://db\"\ntoken = \"{token}\"\n"
        );
        stores(grant, &config, None)
    };
    let shown = format!("{:?}", libsql("hunter2").unwrap());
    assert!(
        shown.contains("https://db") && !shown.contains("hunter2"),
        "{shown}"
    );
    let refused = libsql("hunter2\\n").unwrap_err();
    assert!(
        refused.contains("database `x`") && refused.contains("its token cannot be sent"),
        "{refused}"
    );
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn the_folder_of_a_setting_comes_before_the_configured_one() {
    let grant = "key_value_stores = [\"default\"]\n";
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    stores(grant, "", Some(&own)).unwrap();
    assert!(own.is_dir());
    let configured = folder.path().join("configured");
    let config = format!("state_dir = \"{}\"\n", configured.display());
    stores(grant, &config, Some(&own)).unwrap();
    assert!(configured.is_dir());
    let refused = stores(grant, "", None).unwrap_err();
    assert!(refused.contains("SKIFF_STORE_DIR"), "{refused}");
}

#[test]
fn a_store_in_memory_is_gone_with_its_process() {
    let memory = InMemory::new().unwrap();
    let folder = memory.folder();
    let store = SqliteKeyValue::new("x", memory.file(StoreSettings::default().wait));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let set = store.set("k".to_owned(), b"v".to_vec());
    runtime.block_on(set).unwrap();
    let found = runtime.block_on(store.get("k", 1));
    assert_eq!(found, Ok(Some(b"v".to_vec())));
    assert!(folder.is_dir());
    drop(store);
    assert!(!folder.exists());
}

#[test]
fn a_store_in_memory_of_a_killed_process_is_gone_with_the_next_start() {
    let left = tempfile::Builder::new()
        .prefix("skiff-store-")
        .tempdir_in("/dev/shm")
        .unwrap()
        .keep();
    std::fs::write(left.join("store.db"), "of nobody").unwrap();
    let used = InMemory::new().unwrap();
    let next = InMemory::new().unwrap();
    assert!(!left.exists());
    assert!(used.folder().is_dir() && next.folder().is_dir());
}
