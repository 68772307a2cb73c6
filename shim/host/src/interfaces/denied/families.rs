//! The interfaces of the contract that are not offered yet: what grants them, and what a
//! call is answered without.

use super::super::split;

/// What a component needs a grant of to use an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `allowed_outbound_hosts` with one of these schemes.
    Hosts(&'static [&'static str]),
    /// `key_value_stores`.
    KeyValueStores,
    /// `sqlite_databases`.
    Databases,
    /// `ai_models`.
    Models,
    /// None: nobody can be granted it.
    Nothing,
}

/// How a family says that a call was not granted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// The first of these cases that its error has.
    Case(&'static [&'static str]),
    /// The case `connection-failed`, with the address.
    Address,
    /// The case `invalid-input`, with the model.
    Model,
    /// Nothing: a call does nothing and is well.
    Quiet,
    /// The first of these cases where there is an error; what has none ends the guest,
    /// which may not take it for the truth.
    Trap(&'static [&'static str]),
}

/// Interfaces that are granted together.
pub(super) struct Family {
    interfaces: &'static [&'static str],
    /// What versions begin with; an interface without versions has the empty one.
    versions: &'static [&'static str],
    need: Need,
    pub(super) answer: Answer,
}

const HTTP: &[&str] = &["http", "https"];

const FAMILIES: &[Family] = &[
    Family {
        interfaces: &["fermyon:spin/http", "fermyon:spin/http-types"],
        versions: &[""],
        need: Need::Hosts(HTTP),
        answer: Answer::Case(&["destination-not-allowed"]),
    },
    Family {
        interfaces: &["fermyon:spin/key-value"],
        versions: &["", "2."],
        need: Need::KeyValueStores,
        answer: Answer::Case(&["access-denied"]),
    },
    Family {
        interfaces: &["spin:key-value/key-value"],
        versions: &["3."],
        need: Need::KeyValueStores,
        answer: Answer::Case(&["access-denied"]),
    },
    Family {
        interfaces: &[
            "wasi:keyvalue/atomics",
            "wasi:keyvalue/batch",
            "wasi:keyvalue/store",
        ],
        versions: &["0.2.0-draft2"],
        need: Need::KeyValueStores,
        answer: Answer::Case(&["access-denied"]),
    },
    Family {
        interfaces: &["fermyon:spin/sqlite"],
        versions: &["", "2."],
        need: Need::Databases,
        answer: Answer::Case(&["access-denied"]),
    },
    Family {
        interfaces: &["spin:sqlite/sqlite"],
        versions: &["3."],
        need: Need::Databases,
        answer: Answer::Case(&["access-denied"]),
    },
    Family {
        interfaces: &["fermyon:spin/redis", "fermyon:spin/redis-types"],
        versions: &["", "2."],
        need: Need::Hosts(&["redis", "rediss"]),
        answer: Answer::Case(&["invalid-address", "error"]),
    },
    Family {
        interfaces: &["spin:redis/redis"],
        versions: &["3."],
        need: Need::Hosts(&["redis", "rediss"]),
        answer: Answer::Case(&["invalid-address"]),
    },
    Family {
        interfaces: &["fermyon:spin/postgres"],
        versions: &["", "2."],
        need: Need::Hosts(&["postgres", "postgresql"]),
        answer: Answer::Address,
    },
    Family {
        interfaces: &["spin:postgres/postgres"],
        versions: &["3.", "4."],
        need: Need::Hosts(&["postgres", "postgresql"]),
        answer: Answer::Address,
    },
    Family {
        interfaces: &["fermyon:spin/mysql"],
        versions: &["", "2."],
        need: Need::Hosts(&["mysql"]),
        answer: Answer::Address,
    },
    Family {
        interfaces: &["spin:mysql/mysql"],
        versions: &["3."],
        need: Need::Hosts(&["mysql"]),
        answer: Answer::Address,
    },
    // Types of the two above, and no function.
    Family {
        interfaces: &["fermyon:spin/rdbms-types"],
        versions: &["", "2."],
        need: Need::Nothing,
        answer: Answer::Quiet,
    },
    Family {
        interfaces: &["fermyon:spin/mqtt"],
        versions: &["2."],
        need: Need::Hosts(&["mqtt", "mqtts"]),
        answer: Answer::Address,
    },
    Family {
        interfaces: &["spin:mqtt/mqtt"],
        versions: &["3."],
        need: Need::Hosts(&["mqtt", "mqtts"]),
        answer: Answer::Address,
    },
    Family {
        interfaces: &["fermyon:spin/llm"],
        versions: &["", "2."],
        need: Need::Models,
        answer: Answer::Model,
    },
    Family {
        interfaces: &[
            "wasi:otel/logs",
            "wasi:otel/metrics",
            "wasi:otel/tracing",
            "wasi:otel/types",
        ],
        versions: &["0.2.0-rc.2"],
        need: Need::Nothing,
        answer: Answer::Quiet,
    },
];

/// A release candidate that became a release without a change.
const CANDIDATE: &str = "0.3.0-rc-2026-03-15";

/// Interfaces of the candidate beside those of its release in one component, as a
/// toolchain leaves them that imports all it knows. Alone they get the release's names
/// and are offered.
static BESIDE: Family = Family {
    interfaces: &[],
    versions: &[],
    need: Need::Nothing,
    answer: Answer::Trap(&["HTTP-request-denied", "access-denied", "not-permitted"]),
};

pub(super) fn family(import: &str) -> Option<&'static Family> {
    let (name, version) = split(import);
    if name.starts_with("wasi:") && version == CANDIDATE {
        return Some(&BESIDE);
    }
    FAMILIES.iter().find(|family| {
        let known = |beginning: &&str| match *beginning {
            "" => version.is_empty(),
            beginning => version.starts_with(beginning),
        };
        family.interfaces.contains(&name) && family.versions.iter().any(known)
    })
}

/// What a component needs a grant of to use what it imports, where that is known and not
/// offered.
pub fn need(import: &str) -> Option<Need> {
    match split(import).0 {
        "wasi:http/outgoing-handler" | "wasi:http/client" => Some(Need::Hosts(HTTP)),
        _ => family(import).map(|family| family.need),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                assert!(
                    crate::interfaces::is_offered(&name) || family(&name).is_some(),
                    "{name}"
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
        ] {
            assert!(family(name).is_none(), "{name}");
        }
    }
}
