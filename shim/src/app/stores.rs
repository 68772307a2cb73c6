//! Where an application keeps its state: the stores behind the labels of its components.
//! Clients of databases are chosen here and nowhere else.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skiff_backend_sqlite::{File, Place, PlaceError, SqliteDatabase, SqliteKeyValue};
use skiff_host::{Database, Databases, KeyValue, KeyValueStore};
use skiff_manifest::{Application, Component};

use super::check::used;
use crate::settings::StoreSettings;

/// The label that exists without configuration.
pub(super) const DEFAULT: &str = "default";

/// The file of the key-value store `default`.
const KEY_VALUE_FILE: &str = "key_value.db";

/// The file of the database `default`.
const DATABASE_FILE: &str = "sqlite.db";

/// There is no folder for the stores of an application.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoresError {
    #[error("{user} keeps its data in `{}`, and that folder cannot be made; mount a volume that the container's user may write to, and name its folder in SKIFF_STORE_DIR", folder.display())]
    Make {
        user: String,
        folder: PathBuf,
        source: io::Error,
    },
    #[error("{user} keeps its data in `{}`, which does not work; mount a volume that the container's user may write to, and name its folder in SKIFF_STORE_DIR", folder.display())]
    Place {
        user: String,
        folder: PathBuf,
        source: PlaceError,
    },
    #[error("{user} has no folder for its data; name one in SKIFF_STORE_DIR")]
    NoFolder { user: String },
}

/// The stores of an application. A label is one store, whichever component opens it.
#[derive(Debug, Default)]
pub(super) struct Stores {
    key_value: BTreeMap<String, Arc<dyn KeyValueStore>>,
    databases: BTreeMap<String, Arc<dyn Database>>,
}

impl Stores {
    /// Finds out where the stores that components list are kept. Nothing is opened yet: that
    /// is left to the first call of a guest, in its worker. Without a listed store, nothing
    /// is touched.
    ///
    /// # Errors
    /// If nothing can be kept there.
    pub(super) fn new(
        application: &Application,
        settings: &StoreSettings,
        folder: Option<&Path>,
    ) -> Result<Self, StoresError> {
        let mut stores = Stores::default();
        let used = used(application);
        let user = |labels: fn(&Component) -> &[String], kind: &str| {
            let components = application.components.iter();
            let component = components
                .filter(|component| used.contains(component.id.as_str()))
                .find(|component| labels(component).iter().any(|label| label == DEFAULT))?;
            Some(format!(
                "component `{}`: the {kind} `{DEFAULT}`",
                component.id
            ))
        };
        if let Some(user) = user(|component| &component.key_value_stores, "key-value store") {
            let file = file(KEY_VALUE_FILE, user, settings, folder)?;
            let store = Arc::new(SqliteKeyValue::new(DEFAULT, file));
            stores.key_value.insert(DEFAULT.to_owned(), store);
        }
        if let Some(user) = user(|component| &component.databases, "database") {
            let file = file(DATABASE_FILE, user, settings, folder)?;
            let database = Arc::new(SqliteDatabase::new(DEFAULT, file, false));
            stores.databases.insert(DEFAULT.to_owned(), database);
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

/// Those of `all` that have one of these labels.
fn named<T: ?Sized>(
    labels: &[String],
    all: &BTreeMap<String, Arc<T>>,
) -> impl Iterator<Item = (String, Arc<T>)> {
    let named = |label: &String| Some((label.clone(), Arc::clone(all.get(label)?)));
    labels.iter().filter_map(named)
}

/// A file in the folder of the stores that exist without configuration, which is made if it
/// is missing. `user` is what needs it, for the error.
fn file(
    name: &str,
    user: String,
    settings: &StoreSettings,
    folder: Option<&Path>,
) -> Result<File, StoresError> {
    let Some(folder) = settings.folder.as_deref().or(folder) else {
        return Err(StoresError::NoFolder { user });
    };
    // Nobody else may read what an application keeps.
    let mut builder = DirBuilder::new();
    if let Err(source) = builder.recursive(true).mode(0o700).create(folder) {
        let folder = folder.to_owned();
        return Err(StoresError::Make {
            user,
            folder,
            source,
        });
    }
    // The process may go to another folder later.
    let place = std::path::absolute(folder)
        .map_err(|source| PlaceError::Io {
            folder: folder.to_owned(),
            source,
        })
        .and_then(|folder| Ok((Place::of(&folder)?, folder)));
    match place {
        Ok((place, folder)) => Ok(File::new(folder.join(name), place, settings.wait)),
        Err(source) => Err(StoresError::Place {
            user,
            folder: folder.to_owned(),
            source,
        }),
    }
}
