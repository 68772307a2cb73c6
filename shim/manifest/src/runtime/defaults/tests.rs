use super::*;
use crate::hosts::Network;
use crate::runtime::{self, BlockedNetwork};

const TEXT: &str = "
    [key_value_store.default]
    type = 'redis'
    url = 'redis://:pass1@cache:6379'
    [key_value_store.sessions]
    type = 'spin'
    [outbound_networking]
    block_networks = ['private']
    max_total_connections = 100
    [namespace.shop]
    may_replace = ['key_value_store']
    [namespace.shop.key_value_store.default]
    type = 'postgres'
    url = 'postgres://skiff:pass2@db/shop'
    [namespace.shop.outbound_networking]
    block_networks = ['10.0.0.0/8']
    [namespace.other.sqlite_database.default]
    type = 'libsql'
    url = 'https://sql'
    token = 'pass3'
";

#[track_caller]
fn defaults(namespace: Option<&str>) -> Defaults {
    let read = Defaults::read(TEXT, "d.toml", namespace);
    read.unwrap_or_else(|faults| panic!("{faults}"))
}

fn origins(applied: &Applied) -> Vec<String> {
    applied.origins.iter().map(ToString::to_string).collect()
}

#[test]
fn a_namespace_has_its_own_and_what_is_for_all() {
    let applied = defaults(Some("shop"))
        .apply(RuntimeConfig::default())
        .unwrap();
    assert_eq!(
        origins(&applied),
        [
            "key_value_store.default: postgres://db/shop, table skiff_shop_default, from the node's defaults for namespace shop",
            "key_value_store.sessions: in memory, from the node's defaults",
            "outbound_networking, from the node's defaults for namespace shop",
            "outbound_networking, from the node's defaults",
        ]
    );
    let networking = applied.config.outbound_networking.unwrap();
    assert_eq!(networking.block_networks.len(), 2);
    assert_eq!(networking.max_total_connections, Some(100));
    let applied = defaults(None).apply(RuntimeConfig::default()).unwrap();
    let store = &applied.config.key_value_stores["default"];
    assert!(matches!(store, KeyValueStore::Redis { .. }), "{store:?}");
    assert!(applied.config.sqlite_databases.is_empty());
}

/// The store of a namespace with one of the defaults.
fn store_of(namespace: Option<&str>, store: &str) -> KeyValueStore {
    let text = format!("[key_value_store.default]\n{store}");
    let read = Defaults::read(&text, "d.toml", namespace).unwrap();
    // As the process that serves has it.
    let read = Defaults::from_json(read.to_json()).unwrap();
    let applied = read.apply(RuntimeConfig::default()).unwrap();
    applied.config.key_value_stores["default"].clone()
}

#[test]
fn each_namespace_has_a_part_of_a_server_unless_one_is_named() {
    const REDIS: &str = "type = 'redis'\nurl = 'redis://cache'";
    const POSTGRES: &str = "type = 'postgres'\nurl = 'postgres://db/apps'";
    let parts = |namespace: Option<&str>, more: [&str; 2]| {
        let KeyValueStore::Redis { prefix, .. } =
            store_of(namespace, &format!("{REDIS}\n{}", more[0]))
        else {
            panic!("it is Redis");
        };
        let KeyValueStore::Postgres { table, .. } =
            store_of(namespace, &format!("{POSTGRES}\n{}", more[1]))
        else {
            panic!("it is PostgreSQL");
        };
        [prefix, table]
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        parts(Some("shop"), ["", ""]),
        [some("shop:"), some("skiff_shop_default")]
    );
    assert_eq!(parts(None, ["", ""]), [None, None]);
    let named = ["prefix = ''", "table = 'apps.all'"];
    for namespace in [None, Some("shop")] {
        assert_eq!(parts(namespace, named), [some(""), some("apps.all")]);
    }
}

#[test]
fn another_process_reads_the_same_and_nothing_of_other_namespaces() {
    for namespace in [None, Some("shop"), Some("unknown")] {
        let written = defaults(namespace);
        let read = Defaults::from_json(written.to_json());
        assert_eq!(read.unwrap_or_else(|faults| panic!("{faults}")), written);
        assert!(!written.to_json().contains("pass3"), "{namespace:?}");
        assert_eq!(
            written.to_json().contains("pass2"),
            namespace == Some("shop")
        );
        let shown = format!("{written:?}");
        assert!(!shown.contains("pass"), "{shown}");
    }
}

#[test]
fn a_pod_replaces_what_it_may_and_no_more() {
    let own = "[key_value_store.default]\ntype = 'spin'\n[key_value_store.mine]\ntype = 'spin'";
    let own = runtime::read(own, "r.toml").unwrap();
    let applied = defaults(Some("shop")).apply(own.clone()).unwrap();
    assert_eq!(
        applied.config.key_value_stores["default"],
        KeyValueStore::Spin { path: None }
    );
    let mistakes = defaults(None).apply(own).unwrap_err();
    assert_eq!(
        mistakes,
        [
            "`key_value_store.default` is set by the operator of this node, who does not let pods replace it"
        ]
    );
}

#[test]
fn a_pod_can_only_narrow_the_limits_of_connections() {
    let own = "[outbound_networking]\nblock_networks = ['8.8.8.0/24']\nmax_total_connections = 200\nmax_socket_connections = 5";
    let own = runtime::read(own, "r.toml").unwrap();
    let applied = defaults(None).apply(own).unwrap();
    let range = |text| BlockedNetwork::Range(Network::parse(text).unwrap());
    assert_eq!(
        applied.config.outbound_networking.unwrap(),
        OutboundNetworking {
            block_networks: vec![range("8.8.8.0/24"), BlockedNetwork::Private],
            max_socket_connections: Some(5),
            max_total_connections: Some(100),
        }
    );
}

#[test]
fn mistakes_of_every_namespace_are_named_without_secrets() {
    let relative = "[key_value_store.a]\ntype = 'spin'\npath = 'a.db'";
    let mistakes = Defaults::read(relative, "d.toml", None).unwrap_err();
    let expected = "`key_value_store.a.path` must be an absolute path";
    assert!(mistakes.to_string().contains(expected), "{mistakes}");
    let text = "variables_provider = []\nmay_replace = ['outbound_http']\n[namespace.a.key_value_store.x]\ntype = 'redis'\nurl = 'http://:pass@x'";
    let mistakes = Defaults::read(text, "d.toml", None)
        .unwrap_err()
        .to_string();
    assert!(mistakes.contains("variables_provider"), "{mistakes}");
    assert!(mistakes.contains("d.toml:2:"), "{mistakes}");
    assert!(
        mistakes.contains("`namespace.a.key_value_store.x.url` must be a URL"),
        "{mistakes}"
    );
    assert!(!mistakes.contains("pass"), "{mistakes}");
}
