//! Where an application keeps its state: the stores behind the labels of its components.
//! Clients of databases are chosen here and nowhere else.

mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skiff_backend_libsql::LibsqlDatabase;
use skiff_backend_postgres::PostgresKeyValue;
use skiff_backend_redis::RedisKeyValue;
use skiff_backend_sqlite::{File, Place, SqliteDatabase, SqliteKeyValue};
use skiff_backend_tls::Authorities;
use skiff_host::{Database, Databases, HttpClient, KeyValue, KeyValueStore};
use skiff_manifest::runtime::{self, RuntimeConfig};
use skiff_manifest::{Application, Component};

use self::places::{InMemory, PlacesError};
use super::check::used;
use crate::settings::StoreSettings;

/// The label that exists without configuration.
pub(super) const DEFAULT: &str = "default";

/// The file of the key-value store `default`.
const KEY_VALUE_FILE: &str = "key_value.db";

/// The file of the database `default`.
const DATABASE_FILE: &str = "sqlite.db";

/// What SQLite takes for a database of each connection's own, in memory.
const IN_MEMORY: &str = ":memory:";

/// A store that a component lists and that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("component `{component}`: the {kind} `{label}`")]
pub(super) struct StoresError {
    component: String,
    kind: &'static str,
    label: String,
    source: Box<StoreError>,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error(transparent)]
    Places(#[from] PlacesError),
    #[error("it is configured with the type `{0}`, which this version of Skiff does not offer")]
    NotOffered(&'static str),
    #[error("its server cannot be asked: {0}")]
    Server(String),
    #[error("nothing configures it")]
    Unknown,
}

/// The stores of an application. A label is one store, whichever component opens it.
#[derive(Debug, Default)]
pub(super) struct Stores {
    key_value: BTreeMap<String, Arc<dyn KeyValueStore>>,
    databases: BTreeMap<String, Arc<dyn Database>>,
}

/// From what stores are made.
pub(super) struct Sources<'a> {
    pub(super) settings: &'a StoreSettings,
    pub(super) config: &'a RuntimeConfig,
    /// A path of the configuration that is relative to its file's folder.
    pub(super) beside: &'a dyn Fn(&str) -> PathBuf,
    /// The folder of the stores that exist without configuration, unless one is configured.
    pub(super) folder: Option<&'a Path>,
    /// Whom servers are trusted by, besides the authorities that are built in.
    pub(super) authorities: &'a Authorities,
    /// Makes what asks a server over HTTP.
    pub(super) http: &'a dyn Fn() -> Arc<dyn HttpClient>,
}

impl Stores {
    /// Finds out where the stores that components list are kept. Nothing is opened or
    /// connected yet: that is left to the first call of a guest, in its worker. Without a
    /// listed store, nothing is touched.
    ///
    /// # Errors
    /// If nothing can be kept there.
    pub(super) fn new(
        application: &Application,
        sources: &Sources<'_>,
    ) -> Result<Self, StoresError> {
        let mut stores = Stores::default();
        let used = used(application);
        let components = application.components.iter();
        for component in components.filter(|component| used.contains(component.id.as_str())) {
            let error = |kind, label: &str| {
                let (component, label) = (component.id.clone(), label.to_owned());
                move |source| StoresError {
                    component,
                    kind,
                    label,
                    source: Box::new(source),
                }
            };
            for label in BTreeSet::from_iter(&component.key_value_stores) {
                if !stores.key_value.contains_key(label) {
                    let store = sources.key_value(label);
                    let store = store.map_err(error("key-value store", label))?;
                    stores.key_value.insert(label.clone(), store);
                }
            }
            for label in BTreeSet::from_iter(&component.databases) {
                if !stores.databases.contains_key(label) {
                    let database = sources.database(label);
                    let database = database.map_err(error("database", label))?;
                    stores.databases.insert(label.clone(), database);
                }
            }
        }
        Ok(stores)
    }

    /// The key-value stores that a component may open.
    pub(super) fn key_value(&self, component: &Component) -> KeyValue {
        let stores = named(&component.key_value_stores, &self.key_value);
        KeyValue::new(&component.id, stores)
    }

    /// The databases that a component may open.
    pub(super) fn databases(&self, component: &Component) -> Databases {
        Databases::new(named(&component.databases, &self.databases))
    }
}

/// Whether a component lists a store that exists without configuration.
pub(crate) fn keeps_default(application: &Application) -> bool {
    let used = used(application);
    application.components.iter().any(|component| {
        let mut labels = component
            .key_value_stores
            .iter()
            .chain(&component.databases);
        used.contains(component.id.as_str()) && labels.any(|label| label == DEFAULT)
    })
}

/// Those of `all` that have one of these labels.
fn named<T: ?Sized>(
    labels: &[String],
    all: &BTreeMap<String, Arc<T>>,
) -> impl Iterator<Item = (String, Arc<T>)> {
    let named = |label: &String| Some((label.clone(), Arc::clone(all.get(label)?)));
    labels.iter().filter_map(named)
}

impl Sources<'_> {
    fn key_value(&self, label: &str) -> Result<Arc<dyn KeyValueStore>, StoreError> {
        let (wait, authorities) = (self.settings.wait, self.authorities);
        Ok(match self.config.key_value_stores.get(label) {
            Some(runtime::KeyValueStore::Spin { path: Some(path) }) => {
                Arc::new(SqliteKeyValue::new(label, self.file((self.beside)(path))?))
            }
            Some(runtime::KeyValueStore::Spin { path: None }) => {
                Arc::new(SqliteKeyValue::new(label, InMemory::new()?.file(wait)))
            }
            Some(runtime::KeyValueStore::Redis { url, prefix }) => {
                let (exposed, prefix) = (url.expose().as_str(), prefix.as_deref());
                let (shown, prefix) = (url.to_string(), prefix.unwrap_or_default());
                let store = RedisKeyValue::new(label, exposed, shown, prefix, wait, authorities);
                Arc::new(store.map_err(StoreError::Server)?)
            }
            Some(runtime::KeyValueStore::Postgres { url, table }) => {
                let (exposed, table) = (url.expose().as_str(), table.as_deref());
                let shown = url.to_string();
                let store = PostgresKeyValue::new(label, exposed, shown, table, wait, authorities);
                Arc::new(store.map_err(StoreError::Server)?)
            }
            Some(runtime::KeyValueStore::AzureCosmos { .. }) => {
                return Err(StoreError::NotOffered("azure_cosmos"));
            }
            Some(runtime::KeyValueStore::AwsDynamo { .. }) => {
                return Err(StoreError::NotOffered("aws_dynamo"));
            }
            None => Arc::new(SqliteKeyValue::new(
                label,
                self.default_file(label, KEY_VALUE_FILE)?,
            )),
        })
    }

    fn database(&self, label: &str) -> Result<Arc<dyn Database>, StoreError> {
        let (file, attaches) = match self.config.sqlite_databases.get(label) {
            Some(runtime::SqliteDatabase::Spin {
                path,
                allow_attach_file,
            }) => {
                let file = match path {
                    Some(path) => self.file(PathBuf::from(path))?,
                    None => File::new(IN_MEMORY.into(), Place::Local, self.settings.wait),
                };
                (file, *allow_attach_file)
            }
            Some(runtime::SqliteDatabase::Libsql { url, token }) => {
                let (client, wait) = ((self.http)(), self.settings.wait);
                let database = LibsqlDatabase::new(label, url, token, client, wait);
                return Ok(Arc::new(database.map_err(StoreError::Server)?));
            }
            None => (self.default_file(label, DATABASE_FILE)?, false),
        };
        Ok(Arc::new(SqliteDatabase::new(label, file, attaches)))
    }

    /// A file that is configured by its path.
    fn file(&self, path: PathBuf) -> Result<File, StoreError> {
        Ok(places::file(&path, self.settings.wait)?)
    }

    /// The file of a store that exists without configuration.
    fn default_file(&self, label: &str, name: &str) -> Result<File, StoreError> {
        if label != DEFAULT {
            return Err(StoreError::Unknown);
        }
        let configured = self
            .config
            .state_dir
            .as_deref()
            .filter(|dir| !dir.is_empty());
        let settings = self.settings.folder.as_deref();
        let folder = settings.or(configured.map(Path::new)).or(self.folder);
        Ok(places::default_file(folder, name, self.settings.wait)?)
    }
}

#[cfg(test)]
mod tests;
