//! What the operator of a node gives to every application on it: stores, databases, and
//! limits of outbound connections, for all namespaces or for one.
//!
//! The file has the tables of a runtime configuration, and more of them for a namespace:
//!
//! ```
//! use skiff_manifest::runtime::{Defaults, RuntimeConfig};
//!
//! let text = "
//! may_replace = ['sqlite_database']
//!
//! [key_value_store.default]
//! type = 'redis'
//! url = 'redis://cache:6379'
//!
//! [namespace.shop.key_value_store.default]
//! type = 'postgres'
//! url = 'postgres://skiff:pass@db/shop'
//! ";
//! let shop = Defaults::read(text, "defaults.toml", Some("shop")).unwrap();
//! let applied = shop.apply(RuntimeConfig::default()).unwrap();
//! assert_eq!(
//!     applied.origins[0].to_string(),
//!     "key_value_store.default: postgres://db/shop, table skiff_shop_default, from the node's defaults for namespace shop"
//! );
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::json;

use crate::fault::{Faults, Sink};
use crate::fields::{Ask, Fields};
use crate::lock;
use crate::node::Node;
use crate::toml::tree;

use super::read::{by_label, word};
use super::{KeyValueStore, OutboundHttp, OutboundNetworking, SqliteDatabase, network, stores};
use super::{RuntimeConfig, ServiceUrl};

const OWNER: &str = "node's defaults";

/// The key below which namespaces have tables of their own.
const NAMESPACE: &str = "namespace";

/// What pods may be allowed to replace.
const PARTS: &[(&str, Part)] = &[
    (Part::KeyValueStores.key(), Part::KeyValueStores),
    (Part::SqliteDatabases.key(), Part::SqliteDatabases),
];

/// A part of the defaults that a pod's own runtime configuration may be allowed to replace.
/// Limits of outbound connections can only be made narrower, which is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    KeyValueStores,
    SqliteDatabases,
}

impl Part {
    const fn key(self) -> &'static str {
        match self {
            Part::KeyValueStores => "key_value_store",
            Part::SqliteDatabases => "sqlite_database",
        }
    }
}

/// The operator's defaults for the pods of one namespace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Defaults {
    everywhere: Scope,
    namespace: Option<(String, Scope)>,
    /// Both as JSON, in the format of the file.
    json: Json,
}

/// Text with secrets.
#[derive(Clone, PartialEq, Default)]
struct Json(String);

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What is written at one level of the file.
#[derive(Debug, Clone, PartialEq, Default)]
struct Scope {
    may_replace: Option<BTreeSet<Part>>,
    key_value_stores: BTreeMap<String, KeyValueStore>,
    sqlite_databases: BTreeMap<String, SqliteDatabase>,
    networking: Option<OutboundNetworking>,
    http: Option<OutboundHttp>,
}

/// A runtime configuration with the operator's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// What counts.
    pub config: RuntimeConfig,
    /// Where stores, databases and limits come from.
    pub origins: Vec<Origin>,
}

/// Where one setting comes from. Its text shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    what: String,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Everywhere,
    Namespace(String),
    Pod,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match &self.source {
            Source::Everywhere => write!(f, "{what}, from the node's defaults"),
            Source::Namespace(name) => {
                write!(f, "{what}, from the node's defaults for namespace {name}")
            }
            Source::Pod => write!(f, "{what}, from the pod's runtime configuration"),
        }
    }
}

impl Defaults {
    /// Reads the file of a node, all of it, and keeps what concerns `namespace`; pods
    /// without a namespace get what is for all. `file` is its name in messages.
    ///
    /// # Errors
    /// All mistakes with their line and column. No message shows a value that may be secret.
    pub fn read(text: &str, file: &str, namespace: Option<&str>) -> Result<Self, Faults> {
        let sink = Sink::toml(file, text.as_bytes());
        let defaults = tree::parse(text, &sink).and_then(|root| {
            let json = json_for(root.clone(), namespace);
            let (everywhere, mut namespaces) = scopes(root, &sink)?;
            let own = |name: &str| (name.to_owned(), namespaces.remove(name).unwrap_or_default());
            Some(Defaults {
                everywhere,
                namespace: namespace.map(own),
                json,
            })
        });
        sink.into_result(defaults)
    }

    /// What another process needs to read the same with [`Defaults::from_json`]. It has all
    /// secrets of the namespace, and none of others.
    pub fn to_json(&self) -> &str {
        &self.json.0
    }

    /// Reads what [`Defaults::to_json`] has returned.
    ///
    /// # Errors
    /// All mistakes, as in a text of another version.
    pub fn from_json(text: &str) -> Result<Self, Faults> {
        let sink = Sink::json(OWNER, text.as_bytes());
        let defaults = lock::tree::parse(text, &sink).and_then(|root| {
            let (everywhere, mut namespaces) = scopes(root, &sink)?;
            Some(Defaults {
                everywhere,
                namespace: namespaces.pop_first(),
                json: Json(text.to_owned()),
            })
        });
        sink.into_result(defaults)
    }

    /// Adds the defaults to a pod's own configuration. Blocked networks are blocked if
    /// either says so, and of two limits the smaller counts.
    ///
    /// # Errors
    /// All stores and databases that the pod would replace without being allowed to.
    pub fn apply(&self, own: RuntimeConfig) -> Result<Applied, Vec<String>> {
        let mut config = own;
        let mut merge = Merge {
            defaults: self,
            origins: Vec::new(),
            mistakes: Vec::new(),
        };
        merge.labels(
            Part::KeyValueStores,
            |scope| &scope.key_value_stores,
            &mut config.key_value_stores,
        );
        merge.labels(
            Part::SqliteDatabases,
            |scope| &scope.sqlite_databases,
            &mut config.sqlite_databases,
        );
        for (scope, source) in self.scopes() {
            if let Some(limits) = &scope.networking {
                merge.note("outbound_networking", source.clone());
                narrow_networking(config.outbound_networking.get_or_insert_default(), limits);
            }
            if let Some(limits) = &scope.http {
                merge.note("outbound_http", source);
                let own = config.outbound_http.get_or_insert(OutboundHttp {
                    connection_pooling: limits.connection_pooling,
                    max_connections: None,
                });
                own.max_connections = least(own.max_connections, limits.max_connections);
            }
        }
        let Merge {
            origins, mistakes, ..
        } = merge;
        match mistakes.is_empty() {
            true => Ok(Applied { config, origins }),
            false => Err(mistakes),
        }
    }

    /// The levels that apply, the more specific first.
    fn scopes(&self) -> impl Iterator<Item = (&Scope, Source)> {
        let own = self.namespace.iter();
        own.map(|(name, scope)| (scope, Source::Namespace(name.clone())))
            .chain([(&self.everywhere, Source::Everywhere)])
    }

    fn may_replace(&self, part: Part) -> bool {
        let mut written = self
            .scopes()
            .filter_map(|(scope, _)| scope.may_replace.as_ref());
        written.next().is_some_and(|parts| parts.contains(&part))
    }
}

/// The defaults while they are added to a pod's configuration.
struct Merge<'a> {
    defaults: &'a Defaults,
    origins: Vec<Origin>,
    mistakes: Vec<String>,
}

impl Merge<'_> {
    fn labels<T: Clone + Place>(
        &mut self,
        part: Part,
        of: impl Fn(&Scope) -> &BTreeMap<String, T>,
        own: &mut BTreeMap<String, T>,
    ) {
        let mut given: BTreeMap<&String, (&T, Source)> = BTreeMap::new();
        for (scope, source) in self.defaults.scopes() {
            for (label, place) in of(scope) {
                given
                    .entry(label)
                    .or_insert_with(|| (place, source.clone()));
            }
        }
        let key = part.key();
        for (label, place) in &*own {
            if given.remove(label).is_some() && !self.defaults.may_replace(part) {
                self.mistakes.push(format!(
                    "`{key}.{label}` is set by the operator of this node, who does not let pods replace it"
                ));
            }
            self.note(&format!("{key}.{label}: {}", place.place()), Source::Pod);
        }
        let namespace = self.defaults.namespace.as_ref();
        for (label, (place, source)) in given {
            let mut place = place.clone();
            if let Some((namespace, _)) = namespace {
                place.part(namespace, label);
            }
            self.note(&format!("{key}.{label}: {}", place.place()), source);
            own.insert(label.clone(), place);
        }
    }

    fn note(&mut self, what: &str, source: Source) {
        self.origins.push(Origin {
            what: what.to_owned(),
            source,
        });
    }
}

/// Where data is kept.
trait Place {
    /// In words without secrets.
    fn place(&self) -> String;

    /// Makes it another one for each namespace, unless the operator has named the part of the
    /// server that is meant.
    fn part(&mut self, _namespace: &str, _label: &str) {}
}

impl Place for KeyValueStore {
    fn place(&self) -> String {
        match self {
            KeyValueStore::Spin { path } => sqlite_place(path.as_deref()),
            KeyValueStore::Redis { url, prefix } => part_of(url, "keys with prefix", prefix),
            KeyValueStore::Postgres { url, table } => part_of(url, "table", table),
            KeyValueStore::AzureCosmos { account, .. } => format!("Azure Cosmos DB of {account}"),
            KeyValueStore::AwsDynamo { table, .. } => format!("DynamoDB table {table}"),
        }
    }

    fn part(&mut self, namespace: &str, label: &str) {
        match self {
            KeyValueStore::Redis { prefix, .. } => {
                prefix.get_or_insert_with(|| format!("{namespace}:"));
            }
            KeyValueStore::Postgres { table, .. } => {
                table.get_or_insert_with(|| format!("skiff_{namespace}_{label}"));
            }
            _ => {}
        }
    }
}

impl Place for SqliteDatabase {
    fn place(&self) -> String {
        match self {
            SqliteDatabase::Spin { path, .. } => sqlite_place(path.as_deref()),
            SqliteDatabase::Libsql { url, .. } => url.to_string(),
        }
    }
}

fn sqlite_place(path: Option<&str>) -> String {
    path.map_or_else(|| "in memory".to_owned(), |path| format!("file {path}"))
}

fn part_of(url: &ServiceUrl, what: &str, name: &Option<String>) -> String {
    match name.as_deref() {
        Some(name) if !name.is_empty() => format!("{url}, {what} {name}"),
        _ => url.to_string(),
    }
}

fn narrow_networking(own: &mut OutboundNetworking, limits: &OutboundNetworking) {
    for network in &limits.block_networks {
        if !own.block_networks.contains(network) {
            own.block_networks.push(*network);
        }
    }
    own.max_socket_connections = least(own.max_socket_connections, limits.max_socket_connections);
    own.max_total_connections = least(own.max_total_connections, limits.max_total_connections);
}

/// The smaller of two limits.
fn least(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.into_iter().chain(other).min()
}

/// The levels of the file: for all, and by namespace.
fn scopes(root: Node, sink: &Sink<'_>) -> Option<(Scope, BTreeMap<String, Scope>)> {
    let mut fields = Fields::of(root, &Ask::new(sink, OWNER))?;
    let namespaces = fields.map(NAMESPACE, |node, ask| {
        let mut fields = Fields::of(node, ask)?;
        let scope = scope(&mut fields);
        fields.done();
        Some(scope)
    });
    let namespaces = namespaces.into_iter();
    let namespaces = namespaces
        .map(|(name, scope)| (name.value, scope))
        .collect();
    let everywhere = scope(&mut fields);
    fields.done();
    Some((everywhere, namespaces))
}

fn scope(fields: &mut Fields<'_>) -> Scope {
    let may_replace = fields.has("may_replace").then(|| {
        fields
            .list("may_replace", word(PARTS))
            .into_iter()
            .collect()
    });
    Scope {
        may_replace,
        key_value_stores: by_label(fields, Part::KeyValueStores.key(), |node, ask| {
            let at = node.at;
            let store = stores::key_value(node, ask)?;
            if let KeyValueStore::Spin { path: Some(path) } = &store {
                absolute(path, at, ask);
            }
            Some(store)
        }),
        sqlite_databases: by_label(fields, Part::SqliteDatabases.key(), |node, ask| {
            let at = node.at;
            let database = stores::sqlite(node, ask)?;
            if let SqliteDatabase::Spin {
                path: Some(path), ..
            } = &database
            {
                absolute(path, at, ask);
            }
            Some(database)
        }),
        networking: fields.optional("outbound_networking", network::networking),
        http: fields.optional("outbound_http", network::http),
    }
}

/// Checks that a path is the same in every pod.
fn absolute(path: &str, at: usize, ask: &Ask<'_>) {
    if !path.starts_with('/') {
        ask.field("path")
            .fault(at, "must be an absolute path, inside a pod");
    }
}

/// The file without the tables of other namespaces, and with one for this namespace.
fn json_for(root: Node, namespace: Option<&str>) -> Json {
    let mut json = root.into_json();
    if let Some(root) = json.as_object_mut() {
        let mut all = root.remove(NAMESPACE);
        if let Some(name) = namespace {
            let own = all.as_mut().and_then(|all| all.get_mut(name));
            let own = own.map_or_else(|| json!({}), serde_json::Value::take);
            root.insert(NAMESPACE.to_owned(), json!({ name: own }));
        }
    }
    Json(json.to_string())
}

#[cfg(test)]
mod tests;
