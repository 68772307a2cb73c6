//! Key-value stores: what a store has to do, which stores a component may open, and the
//! interfaces that use them. All versions of Spin's, and `wasi:keyvalue`.

mod spin_v1;
mod spin_v2;
mod spin_v3;
mod wasi;

pub(crate) use self::wasi::Cas;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceTableError, ResourceType};

use crate::held::FREE_CALL;
use crate::state::State;

/// What a store answers, sooner or later.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A key and its value.
pub type Pair = (String, Vec<u8>);

/// A key and its value, if there is one.
pub type FoundPair = (String, Option<Vec<u8>>);

/// Why a store did not do what it was asked to do. The text names the store and what is
/// wrong, and the guest sees it: it contains neither passwords nor tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The call makes no sense, or asks for too much. Only the guest can do something about
    /// it.
    #[error("{0}")]
    Refused(String),
    /// The store does not work. This is logged for the operator as well.
    #[error("{0}")]
    Failed(String),
}

/// A key-value store, shared by all instances of a worker.
///
/// A store waits for nothing but its own data: what may block is done on another thread.
/// Each wait has a limit, after which the call fails. What a call has changed when it
/// succeeds is kept, and is seen by all later calls, also of other workers.
pub trait KeyValueStore: fmt::Debug + Send + Sync {
    /// The value of a key, if there is one. A value of more than `most` bytes is refused, and
    /// takes no memory.
    fn get<'a>(&'a self, key: &'a str, most: usize) -> Reply<'a, Option<Vec<u8>>>;

    /// Sets the value of a key.
    fn set(&self, key: String, value: Vec<u8>) -> Reply<'_, ()>;

    /// Removes a key; a missing one is no error.
    fn delete(&self, key: String) -> Reply<'_, ()>;

    /// Whether a key exists.
    fn exists<'a>(&'a self, key: &'a str) -> Reply<'a, bool>;

    /// All keys, in any order. Keys of more than `most` bytes together are refused.
    fn keys(&self, most: usize) -> Reply<'_, Vec<String>>;

    /// The values of several keys. Values of more than `most` bytes together are refused, and
    /// take no memory. Missing keys may be left out.
    fn get_many(&self, keys: Vec<String>, most: usize) -> Reply<'_, Vec<FoundPair>>;

    /// Sets several values: all of them or none.
    fn set_many(&self, pairs: Vec<Pair>) -> Reply<'_, ()>;

    /// Removes several keys: all of them or none.
    fn delete_many(&self, keys: Vec<String>) -> Reply<'_, ()>;

    /// Adds to the number of a key and returns the sum. A missing key counts as 0.
    fn increment(&self, key: String, delta: i64) -> Reply<'_, i64>;

    /// Sets the value of a key if its value is still the one `before`; returns whether it
    /// was.
    fn swap(&self, key: String, before: Option<Vec<u8>>, value: Vec<u8>) -> Reply<'_, bool>;
}

/// The most bytes of a result, as in Spin.
pub const MOST_RESULT: usize = 128 << 20;

/// Why a result is refused: what has more than `most` bytes, as in `the value has`.
pub fn too_large(what: &str, most: usize) -> String {
    let limit = match most < MOST_RESULT {
        true => ", all that the guest's memory limit leaves at this moment",
        false => "",
    };
    format!("{what} more than {most} bytes{limit}")
}

/// The stores that a component may open, by their labels.
#[derive(Debug, Clone, Default)]
pub struct KeyValue(Arc<BTreeMap<String, Handle>>);

impl KeyValue {
    /// The stores of a component, each with its label.
    pub fn new(
        component: &str,
        stores: impl IntoIterator<Item = (String, Arc<dyn KeyValueStore>)>,
    ) -> Self {
        let component: Arc<str> = component.into();
        let named = |(label, store): (String, Arc<dyn KeyValueStore>)| {
            let named = Named {
                component: Arc::clone(&component),
                label: label.clone(),
                store,
            };
            (label, Arc::new(named))
        };
        KeyValue(Arc::new(stores.into_iter().map(named).collect()))
    }
}

/// A store with the names under which it is logged.
#[derive(Debug)]
struct Named {
    component: Arc<str>,
    label: String,
    store: Arc<dyn KeyValueStore>,
}

/// What a guest has a handle for: `store` or `bucket`.
type Handle = Arc<Named>;

/// Why a call failed, in any version.
#[derive(Debug)]
enum Failure {
    StoreTableFull,
    NoSuchStore,
    AccessDenied,
    Other(String),
}

impl Named {
    /// The store's answer; a store that does not work is logged.
    async fn of<T>(&self, reply: Reply<'_, T>) -> Result<T, Failure> {
        reply.await.map_err(|error| {
            if let StoreError::Failed(reason) = &error {
                tracing::warn!(component_id = %self.component, store = self.label, reason, "A key-value store does not work");
            }
            Failure::Other(error.to_string())
        })
    }
}

/// Opens a store for a guest.
fn open(state: &mut State, interface: &str, label: &str) -> Result<Resource<Handle>, Failure> {
    let Some(store) = state.grants().key_value.0.get(label) else {
        tracing::warn!(component_id = %state.grants().component, interface, function = "open", of = label, "Call denied: nothing grants it");
        return Err(Failure::AccessDenied);
    };
    let store = Arc::clone(store);
    state.table.push(store).map_err(|error| match error {
        ResourceTableError::Full => Failure::StoreTableFull,
        error => Failure::Other(error.to_string()),
    })
}

/// The store behind a guest's handle.
fn find(state: &State, handle: &Resource<Handle>) -> Result<Handle, ResourceTableError> {
    state.table.get(handle).cloned()
}

/// The most bytes of a result at this moment: more would be read for nobody.
fn most(state: &State) -> usize {
    state.room().clamp(FREE_CALL, MOST_RESULT)
}

/// The value of a key.
async fn get(state: &mut State, store: &Named, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let value = store.of(store.store.get(key, most(state))).await;
    received(state, value, size)
}

/// All keys.
async fn keys(state: &mut State, store: &Named) -> Result<Vec<String>, Failure> {
    let keys = store.of(store.store.keys(most(state))).await;
    received(state, keys, |keys| size_of_keys(keys))
}

/// Fails if the guest's memory limit has no room for a result that the host holds for it.
fn received<T>(
    state: &mut State,
    result: Result<T, Failure>,
    size: impl FnOnce(&T) -> usize,
) -> Result<T, Failure> {
    let result = result?;
    state.lend(size(&result)).map_err(too_much)?;
    Ok(result)
}

/// The failure of a call for which there is no memory.
fn too_much(error: skiff_engine::MemoryError) -> Failure {
    Failure::Other(error.to_string())
}

/// The bytes of a value that may be missing.
fn size(value: &Option<Vec<u8>>) -> usize {
    value.as_ref().map_or(0, Vec::len)
}

/// The bytes of keys.
fn size_of_keys(keys: &[String]) -> usize {
    keys.iter().map(|key| key.len() + size_of::<String>()).sum()
}

/// The type of stores in an instance of an interface.
fn add_resource(instance: &mut LinkerInstance<'_, State>, name: &str) -> wasmtime::Result<()> {
    let ty = ResourceType::host::<Handle>();
    instance.resource(name, ty, |mut store, rep| {
        let handle = Resource::<Handle>::new_own(rep);
        store.data_mut().table.delete(handle)?;
        Ok(())
    })
}

/// Adds all versions; the asynchronous one only if the engine supports concurrent calls.
pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    spin_v1::add_to_linker(linker)?;
    spin_v2::add_to_linker(linker)?;
    if concurrency {
        spin_v3::add_to_linker(linker)?;
    }
    wasi::add_to_linker(linker)
}
