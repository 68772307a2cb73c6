use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn is_offered(name: &str) -> bool {
    matches!(status(name), Some(Status::Offered(_)))
}

#[test]
fn each_interface_is_there_once() {
    let names: BTreeSet<_> = CATALOGUE.iter().map(|interface| interface.name).collect();
    assert_eq!(names.len(), CATALOGUE.len());
}

#[test]
fn every_interface_of_the_contract_is_offered_or_denied() {
    let contract = [
        (
            "fermyon:spin",
            "2.0.0",
            "key-value llm mqtt mysql postgres rdbms-types redis sqlite variables",
        ),
        (
            "fermyon:spin",
            "",
            "config http http-types key-value llm mysql postgres rdbms-types redis redis-types sqlite",
        ),
        ("wasi:keyvalue", "0.2.0-draft2", "store batch atomics"),
        ("wasi:config", "0.2.0-draft-2024-09-27", "store"),
        ("spin:postgres", "3.0.0", "postgres"),
        ("spin:postgres", "4.0.0", "postgres"),
        ("spin:postgres", "4.1.0", "postgres"),
        ("spin:postgres", "4.2.0", "postgres"),
        ("spin:sqlite", "3.0.0", "sqlite"),
        ("spin:sqlite", "3.1.0", "sqlite"),
        ("spin:key-value", "3.0.0", "key-value"),
        ("spin:mqtt", "3.0.0", "mqtt"),
        ("spin:mysql", "3.0.0", "mysql"),
        ("spin:redis", "3.0.0", "redis"),
        ("spin:variables", "3.0.0", "variables"),
        ("wasi:otel", "0.2.0-rc.2", "types tracing metrics logs"),
    ];
    for (package, version, interfaces) in contract {
        for interface in interfaces.split(' ') {
            let at = if version.is_empty() { "" } else { "@" };
            let name = format!("{package}/{interface}{at}{version}");
            let status = status(&name);
            assert!(
                matches!(status, Some(Status::Offered(_) | Status::Denied(_))),
                "{name}: {status:?}"
            );
        }
    }
}

#[test]
fn other_versions_are_unknown() {
    for name in [
        "fermyon:spin/key-value@3.0.0",
        "fermyon:spin/mqtt",
        "spin:redis/redis@4.0.0",
        "wasi:keyvalue/store@0.2.0-draft",
        "wasi:otel/logs@0.2.0-rc.1",
        "wasi:keyvalue/watcher@0.2.0-draft2",
        "wasi:config/runtime@0.2.0-draft",
        "wasi:http/types@0.2.0-rc-2023-12-05",
        "wasi:http/types",
        "wasi:clocks/timezone@0.2.0",
        "wasi:nn/graph@0.2.0",
    ] {
        assert!(status(name).is_none(), "{name}");
    }
}

#[test]
fn release_candidates_are_offered_by_the_names_of_their_release() {
    for name in [
        "wasi:http/types@0.2.0-rc-2023-10-18",
        "wasi:http/types@0.2.0-rc-2023-11-10",
        "wasi:http/types@0.3.0-rc-2026-03-15",
    ] {
        assert!(matches!(status(name), Some(Status::Settled)), "{name}");
    }
    assert!(is_offered("wasi:http/types@0.2.17"));
    assert!(is_offered("wasi:http/types@0.2.0+rc20231018"));
    assert!(is_offered("wasi:http/types@0.3.0+rc20260315"));
}

#[test]
fn only_what_has_asynchronous_functions_needs_a_concurrent_engine() {
    for (name, needed) in [
        ("wasi:http/types@0.2.6", false),
        ("wasi:http/types@0.3.0", true),
        ("wasi:http/handler@0.3.1", true),
        ("wasi:http/types@0.3.0-rc-2026-03-15", true),
        ("wasi:http/types@0.2.0-rc-2023-11-10", false),
        // Unknown interfaces are to be refused by name, and not by the engine.
        ("wasi:nn/graph@0.3.0", true),
        ("wasi:nn/graph@0.2.0", false),
        ("a:b/c@3.0.0", false),
        ("fermyon:spin/key-value@2.0.0", false),
        ("spin:key-value/key-value@3.0.0", true),
        ("spin:key-value/key-value@4.0.0", true),
        ("spin:redis/inbound-redis@3.0.0", true),
        ("spin:variables/variables@3.0.0", true),
        ("spin:postgres/postgres@3.0.0", false),
        ("spin:postgres/postgres@4.0.0", false),
        ("spin:postgres/postgres@4.1.0", false),
        ("spin:postgres/postgres@4.2.0", true),
        ("spin:postgres/postgres@5.0.0", true),
        ("spin:sqlite/sqlite@3.0.0", false),
        ("spin:sqlite/sqlite@3.1.0", true),
    ] {
        assert_eq!(needs_concurrency([name].into_iter()), needed, "{name}");
    }
}

/// Otherwise a dependency could use what it did not inherit.
#[test]
fn a_dependency_is_cut_off_from_all_that_is_granted() {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for interface in CATALOGUE {
        match interface.capability {
            Some(capability) => found
                .entry(capability.key())
                .or_default()
                .push(interface.name),
            // Types provide no capability.
            None => assert!(
                interface.need.is_none() || interface.name.ends_with("-types"),
                "{}",
                interface.name
            ),
        }
    }
    let expected = [
        ("ai_models", "fermyon:spin/llm"),
        (
            "allowed_outbound_hosts",
            "fermyon:spin/http fermyon:spin/mqtt fermyon:spin/redis spin:mqtt/mqtt \
             spin:redis/redis wasi:http/client wasi:http/outgoing-handler \
             wasi:sockets/ip-name-lookup wasi:sockets/tcp wasi:sockets/tcp-create-socket \
             wasi:sockets/types wasi:sockets/udp wasi:sockets/udp-create-socket",
        ),
        ("environment", "wasi:cli/environment"),
        ("files", "wasi:filesystem/preopens"),
        (
            "key_value_stores",
            "fermyon:spin/key-value spin:key-value/key-value wasi:keyvalue/atomics \
             wasi:keyvalue/batch wasi:keyvalue/store",
        ),
        (
            "sqlite_databases",
            "fermyon:spin/mysql fermyon:spin/postgres fermyon:spin/sqlite spin:mysql/mysql \
             spin:postgres/postgres spin:sqlite/sqlite",
        ),
        (
            "variables",
            "fermyon:spin/config fermyon:spin/variables spin:variables/variables \
             wasi:config/runtime wasi:config/store",
        ),
    ];
    let expected = expected.map(|(key, names)| (key, names.split(' ').collect()));
    assert_eq!(found, BTreeMap::from(expected));
    // For any version.
    let later = capability("wasi:http/outgoing-handler@0.9.0");
    assert_eq!(later, Some(Capability::AllowedOutboundHosts));
}

/// The page's text for a status.
fn in_words(status: Status, need: Option<Need>) -> &'static str {
    match (status, need) {
        (Status::Denied(Answer::Quiet), _) => "does nothing",
        (Status::Offered(_), None) => "served",
        (Status::Offered(_) | Status::Denied(_), _) => "denied",
        (Status::Called(Some(_)), _) => "called",
        (Status::Called(None), _) => "not yet",
        (Status::Settled, _) => "served",
    }
}

/// The table of the page: a row for each interface.
fn table() -> String {
    let candidates = interface("`wasi:`, all of it", CANDIDATES);
    let mut table = "| interface | versions | | granted by |\n|---|---|---|---|\n".to_owned();
    for interface in CATALOGUE.iter().chain([&candidates]) {
        let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
        for version in interface.versions {
            let words = in_words(version.status, interface.need);
            let text = match version.begins {
                "" => "without one".to_owned(),
                begins => begins.trim_end_matches('.').to_owned(),
            };
            match rows.last_mut() {
                Some((last, versions)) if *last == words => versions.push(text),
                _ => rows.push((words, vec![text])),
            }
        }
        let name = match interface.name {
            all if all.starts_with('`') => all.to_owned(),
            name => format!("`{name}`"),
        };
        let granted = interface.capability.map_or(String::new(), |capability| {
            format!("`{}`", capability.key())
        });
        for (words, versions) in rows {
            let versions = versions.join(", ");
            table += &format!("| {name} | {versions} | {words} | {granted} |\n");
        }
    }
    table
}

#[test]
fn the_page_of_interfaces_has_the_table() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/interfaces.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once("<!-- interfaces -->\n").unwrap();
    let (found, _) = rest.split_once("<!-- /interfaces -->").unwrap();
    assert_eq!(found.trim(), table().trim(), "it should be\n{}", table());
}
