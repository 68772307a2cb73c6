//! Every interface that Skiff knows, in one place: how a component that imports or exports
//! it is treated, which engine it needs, what its dependencies are denied, and the page
//! `docs/interfaces.md` follow from this table.

use skiff_manifest::Capability;
use wasmtime::component::Linker;

use super::denied::Answer;
use super::{http, key_value, sqlite, variables, wasi};
use crate::ComponentKind;
use crate::state::State;

/// An interface with all its versions.
pub(crate) struct Interface {
    /// `namespace:package/interface`.
    name: &'static str,
    /// The capability it provides, if it has to be granted. A dependency that does not
    /// inherit it is denied the interface.
    capability: Option<Capability>,
    /// The grant that a guest needs to use it, if that grant is not offered yet.
    need: Option<Need>,
    /// The newest comes last.
    versions: &'static [Version],
}

/// Versions of an interface that are treated alike.
pub(crate) struct Version {
    /// A full version; or a prefix of versions, ending in a dot; or empty, for an interface
    /// without versions.
    begins: &'static str,
    /// Whether it has asynchronous functions, which the engine has to support.
    concurrency: bool,
    status: Status,
}

/// How an interface is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Status {
    /// It is added to a linker, with everything that is offered there.
    Offered(Offer),
    /// It is known, and its calls are answered as not granted.
    Denied(Answer),
    /// Guests export it and are called by it; `None` if no trigger does so yet.
    Called(Option<ComponentKind>),
    /// It has the name of its release when it is looked up. Who still has this name hands it
    /// on to a component inside, and does not start.
    Settled,
}

/// Interfaces that are added to a linker together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// `wasmtime-wasi`'s interfaces, some of them replaced.
    Wasi,
    /// `wasi:http`.
    Http,
    /// Variables of a component.
    Variables,
    /// Key-value stores.
    KeyValue,
    /// SQLite databases.
    Sqlite,
}

/// The grant that a component needs to use an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `allowed_outbound_hosts` with one of these schemes.
    Hosts(&'static [&'static str]),
    /// `ai_models`.
    Models,
}

const fn interface(name: &'static str, versions: &'static [Version]) -> Interface {
    Interface {
        name,
        capability: None,
        need: None,
        versions,
    }
}

impl Interface {
    const fn gives(mut self, capability: Capability) -> Self {
        self.capability = Some(capability);
        self
    }

    const fn needs(mut self, need: Need) -> Self {
        self.need = Some(need);
        self
    }
}

const fn version(begins: &'static str, status: Status) -> Version {
    Version {
        begins,
        concurrency: false,
        status,
    }
}

impl Version {
    const fn with_async(mut self) -> Self {
        self.concurrency = true;
        self
    }

    fn is(&self, version: &str) -> bool {
        if self.begins.ends_with('.') {
            version.starts_with(self.begins) && !version.contains('-')
        } else {
            version == self.begins
        }
    }
}

impl Offer {
    /// In the order in which they are added.
    const ALL: [Offer; 5] = [
        Offer::Wasi,
        Offer::Http,
        Offer::Variables,
        Offer::KeyValue,
        Offer::Sqlite,
    ];

    fn add_to_linker(self, linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
        match self {
            Offer::Wasi => wasi::add_to_linker(linker, concurrency),
            Offer::Http => http::add_to_linker(linker, concurrency),
            Offer::Variables => variables::add_to_linker(linker, concurrency),
            Offer::KeyValue => key_value::add_to_linker(linker, concurrency),
            Offer::Sqlite => sqlite::add_to_linker(linker, concurrency),
        }
    }
}

const fn wasi(begins: &'static str) -> Version {
    version(begins, Status::Offered(Offer::Wasi))
}

const fn http(begins: &'static str) -> Version {
    version(begins, Status::Offered(Offer::Http))
}

const fn variables(begins: &'static str) -> Version {
    version(begins, Status::Offered(Offer::Variables))
}

const fn key_value(begins: &'static str) -> Version {
    version(begins, Status::Offered(Offer::KeyValue))
}

const fn sqlite(begins: &'static str) -> Version {
    version(begins, Status::Offered(Offer::Sqlite))
}

const fn denied(begins: &'static str, answer: Answer) -> Version {
    version(begins, Status::Denied(answer))
}

const fn called(begins: &'static str, kind: ComponentKind) -> Version {
    version(begins, Status::Called(Some(kind)))
}

const WASI_0_2: &[Version] = &[wasi("0.2.")];
const WASI_0_3: &[Version] = &[wasi("0.3.").with_async()];
const WASI: &[Version] = &[wasi("0.2."), wasi("0.3.").with_async()];

const NO_ADDRESS: Answer = Answer::Case(&["invalid-address"]);

const SPIN_REDIS: &[Version] = &[
    denied("", Answer::Case(&["invalid-address", "error"])),
    denied("2.", Answer::Case(&["invalid-address", "error"])),
];
const SPIN_SERVER: &[Version] = &[denied("", Answer::Address), denied("2.", Answer::Address)];
const WASI_STORE: &[Version] = &[key_value("0.2.0-draft2")];
const WASI_OTEL: &[Version] = &[denied("0.2.0-rc.2", Answer::Quiet)];

const REDIS: Need = Need::Hosts(&["redis", "rediss"]);
const POSTGRES: Need = Need::Hosts(&["postgres", "postgresql"]);
const MYSQL: Need = Need::Hosts(&["mysql"]);
const MQTT: Need = Need::Hosts(&["mqtt", "mqtts"]);

/// The table, by name.
/// `wasi:sockets/types` contains the sockets themselves since WASI 0.3, and interfaces that
/// use another's handles (`wasi:keyvalue/batch`) are treated like the one that provides
/// them.
#[rustfmt::skip]
pub(crate) const CATALOGUE: &[Interface] = &[
    // Spin's first interfaces, some without a version.
    interface("fermyon:spin/config", &[variables("")]).gives(Capability::Variables),
    interface("fermyon:spin/http", &[http("")]).gives(Capability::AllowedOutboundHosts),
    interface("fermyon:spin/http-types", &[http("")]),
    interface("fermyon:spin/inbound-http", &[called("", ComponentKind::HttpSpin)]),
    interface("fermyon:spin/inbound-redis", &[version("", Status::Called(None))]),
    interface("fermyon:spin/key-value", &[key_value(""), key_value("2.0.0")])
        .gives(Capability::KeyValueStores),
    interface("fermyon:spin/llm", &[denied("", Answer::Model), denied("2.", Answer::Model)])
        .gives(Capability::AiModels).needs(Need::Models),
    interface("fermyon:spin/mqtt", &[denied("2.", Answer::Address)])
        .gives(Capability::AllowedOutboundHosts).needs(MQTT),
    interface("fermyon:spin/mysql", SPIN_SERVER)
        .gives(Capability::SqliteDatabases).needs(MYSQL),
    interface("fermyon:spin/postgres", SPIN_SERVER)
        .gives(Capability::SqliteDatabases).needs(POSTGRES),
    // Types of the two above, without functions.
    interface("fermyon:spin/rdbms-types", &[denied("", Answer::Quiet), denied("2.", Answer::Quiet)]),
    interface("fermyon:spin/redis", SPIN_REDIS)
        .gives(Capability::AllowedOutboundHosts).needs(REDIS),
    interface("fermyon:spin/redis-types", SPIN_REDIS).needs(REDIS),
    interface("fermyon:spin/sqlite", &[sqlite(""), sqlite("2.0.0")])
        .gives(Capability::SqliteDatabases),
    interface("fermyon:spin/variables", &[variables("2.0.0")]).gives(Capability::Variables),

    // Spin's newer interfaces, each in a package with a version.
    interface("spin:key-value/key-value", &[key_value("3.0.0").with_async()])
        .gives(Capability::KeyValueStores),
    interface("spin:mqtt/mqtt", &[denied("3.", Answer::Address).with_async()])
        .gives(Capability::AllowedOutboundHosts).needs(MQTT),
    interface("spin:mysql/mysql", &[denied("3.", Answer::Address).with_async()])
        .gives(Capability::SqliteDatabases).needs(MYSQL),
    interface("spin:postgres/postgres", &[
        denied("3.", Answer::Address),
        denied("4.0.0", Answer::Address),
        denied("4.1.0", Answer::Address),
        denied("4.", Answer::Address).with_async(),
    ]).gives(Capability::SqliteDatabases).needs(POSTGRES),
    interface("spin:redis/inbound-redis", &[version("3.", Status::Called(None)).with_async()]),
    interface("spin:redis/redis", &[denied("3.", NO_ADDRESS).with_async()])
        .gives(Capability::AllowedOutboundHosts).needs(REDIS),
    interface("spin:sqlite/sqlite", &[sqlite("3.0.0"), sqlite("3.1.0").with_async()])
        .gives(Capability::SqliteDatabases),
    interface("spin:variables/variables", &[variables("3.0.0").with_async()])
        .gives(Capability::Variables),

    // WASI.
    interface("wasi:cli/environment", WASI).gives(Capability::Environment),
    interface("wasi:cli/exit", WASI),
    interface("wasi:cli/run", &[
        called("0.2.", ComponentKind::CommandP2),
        called("0.3.", ComponentKind::CommandP3).with_async(),
    ]),
    interface("wasi:cli/stderr", WASI),
    interface("wasi:cli/stdin", WASI),
    interface("wasi:cli/stdout", WASI),
    interface("wasi:cli/terminal-input", WASI),
    interface("wasi:cli/terminal-output", WASI),
    interface("wasi:cli/terminal-stderr", WASI),
    interface("wasi:cli/terminal-stdin", WASI),
    interface("wasi:cli/terminal-stdout", WASI),
    interface("wasi:cli/types", WASI_0_3),
    interface("wasi:clocks/monotonic-clock", WASI),
    interface("wasi:clocks/system-clock", WASI_0_3),
    interface("wasi:clocks/types", WASI_0_3),
    interface("wasi:clocks/wall-clock", WASI_0_2),
    // The name before `store`: it is not offered, but dependencies are denied it all the
    // same.
    interface("wasi:config/runtime", &[]).gives(Capability::Variables),
    interface("wasi:config/store", &[variables("0.2.0-draft-2024-09-27")])
        .gives(Capability::Variables),
    interface("wasi:filesystem/preopens", WASI).gives(Capability::Files),
    interface("wasi:filesystem/types", WASI),
    interface("wasi:http/client", &[http("0.3.").with_async()])
        .gives(Capability::AllowedOutboundHosts),
    interface("wasi:http/handler", &[called("0.3.", ComponentKind::HttpP3).with_async()]),
    interface("wasi:http/incoming-handler", &[called("0.2.", ComponentKind::HttpP2)]),
    interface("wasi:http/outgoing-handler", &[http("0.2.")])
        .gives(Capability::AllowedOutboundHosts),
    interface("wasi:http/types", &[http("0.2."), http("0.3.").with_async()]),
    interface("wasi:io/error", WASI_0_2),
    interface("wasi:io/poll", WASI_0_2),
    interface("wasi:io/streams", WASI_0_2),
    interface("wasi:keyvalue/atomics", WASI_STORE).gives(Capability::KeyValueStores),
    interface("wasi:keyvalue/batch", WASI_STORE).gives(Capability::KeyValueStores),
    interface("wasi:keyvalue/store", WASI_STORE).gives(Capability::KeyValueStores),
    interface("wasi:otel/logs", WASI_OTEL),
    interface("wasi:otel/metrics", WASI_OTEL),
    interface("wasi:otel/tracing", WASI_OTEL),
    interface("wasi:otel/types", WASI_OTEL),
    interface("wasi:random/insecure", WASI),
    interface("wasi:random/insecure-seed", WASI),
    interface("wasi:random/random", WASI),
    interface("wasi:sockets/instance-network", WASI_0_2),
    interface("wasi:sockets/ip-name-lookup", WASI).gives(Capability::AllowedOutboundHosts),
    interface("wasi:sockets/network", WASI_0_2),
    interface("wasi:sockets/tcp", WASI_0_2).gives(Capability::AllowedOutboundHosts),
    interface("wasi:sockets/tcp-create-socket", WASI_0_2).gives(Capability::AllowedOutboundHosts),
    interface("wasi:sockets/types", WASI_0_3).gives(Capability::AllowedOutboundHosts),
    interface("wasi:sockets/udp", WASI_0_2).gives(Capability::AllowedOutboundHosts),
    interface("wasi:sockets/udp-create-socket", WASI_0_2).gives(Capability::AllowedOutboundHosts),
];

/// Versions common to all WASI interfaces: the release candidates.
const CANDIDATES: &[Version] = &[
    version("0.2.0-rc-2023-10-18", Status::Settled),
    version("0.2.0-rc-2023-11-10", Status::Settled),
    version("0.3.0-rc-2026-03-15", Status::Settled).with_async(),
];

/// Splits `name@version`; the version is empty if there is none.
fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// The catalogue's entry for an interface, whatever its version.
fn find(name: &str) -> Option<&'static Interface> {
    let (name, _) = split(name);
    CATALOGUE.iter().find(|interface| interface.name == name)
}

/// The catalogue's entry for this version of an interface.
fn find_version(name: &str) -> Option<&'static Version> {
    let (_, version) = split(name);
    let own = find(name).map_or(&[][..], |interface| interface.versions);
    let of_all = if name.starts_with("wasi:") {
        CANDIDATES
    } else {
        &[]
    };
    own.iter().chain(of_all).find(|known| known.is(version))
}

/// How an interface is answered; `None` if it is not known.
pub(crate) fn status(name: &str) -> Option<Status> {
    find_version(name).map(|version| version.status)
}

/// How guests that export an interface are called, for each of its versions.
pub(crate) fn handlers(name: &str) -> impl Iterator<Item = Option<ComponentKind>> {
    let versions = find(name).map_or(&[][..], |interface| interface.versions);
    versions.iter().filter_map(|version| match version.status {
        Status::Called(kind) => Some(kind),
        _ => None,
    })
}

/// Adds what is offered of these imports.
pub(crate) fn add_to_linker(
    linker: &mut Linker<State>,
    imports: &[&str],
    concurrency: bool,
) -> wasmtime::Result<()> {
    let is_imported = |offer: &Offer| {
        let mut offers = imports.iter().filter_map(|import| status(import));
        offers.any(|status| matches!(status, Status::Offered(other) if other == *offer))
    };
    let mut offers = Offer::ALL.into_iter().filter(is_imported);
    offers.try_for_each(|offer| offer.add_to_linker(linker, concurrency))
}

/// The grant that a component needs to use an import, if that is known and not offered yet.
pub fn need(import: &str) -> Option<Need> {
    find(import).and_then(|interface| interface.need)
}

/// The capability that an interface provides, if it has to be granted.
pub fn capability(interface: &str) -> Option<Capability> {
    find(interface).and_then(|interface| interface.capability)
}

/// Whether a component with these imports and exports needs an engine with concurrent
/// calls: it uses WASI 0.3, or an interface with asynchronous functions.
pub fn needs_concurrency<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| {
        if let Some(version) = find_version(name) {
            return version.concurrency;
        }
        let (package, version) = split(name);
        match package.starts_with("wasi:") {
            true => version.starts_with("0.3."),
            // Unknown versions are treated like its newest one.
            false => {
                let newest = find(name).and_then(|interface| interface.versions.last());
                newest.is_some_and(|newest| newest.concurrency)
            }
        }
    })
}

#[cfg(test)]
mod tests;
