//! `wasi:keyvalue`: stores, batches and atomics.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower, Resource, ResourceType};

use super::{
    Failure, FoundPair, Handle, Pair, add_resource, find, get, most, open, received, size,
    size_of_keys, too_much,
};
use crate::state::State;

const STORE: &str = "wasi:keyvalue/store@0.2.0-draft2";
const BATCH: &str = "wasi:keyvalue/batch@0.2.0-draft2";
const ATOMICS: &str = "wasi:keyvalue/atomics@0.2.0-draft2";

/// Its `error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum Fault {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSuchStore => Fault::NoSuchStore,
            Failure::AccessDenied => Fault::AccessDenied,
            Failure::StoreTableFull => Fault::Other("too many handles are open".to_owned()),
            Failure::Other(text) => Fault::Other(text),
        }
    }
}

/// Its `key-response`.
#[derive(ComponentType, Lower)]
#[component(record)]
struct KeyResponse {
    #[component(name = "keys")]
    keys: Vec<String>,
    #[component(name = "cursor")]
    cursor: Option<String>,
}

/// Its `cas-error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum CasFault {
    #[component(name = "store-error")]
    StoreError(Fault),
    #[component(name = "cas-failed")]
    CasFailed(Resource<Cas>),
}

impl From<Failure> for CasFault {
    fn from(failure: Failure) -> Self {
        CasFault::StoreError(failure.into())
    }
}

/// Its `cas`: a key, with the value that was read last.
pub(crate) struct Cas {
    store: Handle,
    key: String,
    value: Option<Vec<u8>>,
}

impl Cas {
    /// What the host holds for it, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + size(&self.value)
    }
}

fn of(state: &State, this: &Resource<Handle>) -> Result<Handle, Failure> {
    find(state, this).map_err(|_| Failure::NoSuchStore)
}

async fn set(
    state: &mut State,
    this: &Resource<Handle>,
    key: String,
    value: Vec<u8>,
) -> Result<(), Failure> {
    let store = of(state, this)?;
    let _lent = state.lend(value.len()).map_err(too_much)?;
    store.of(store.store.set(key, value)).await
}

async fn keys(
    state: &mut State,
    this: &Resource<Handle>,
    cursor: Option<&str>,
) -> Result<KeyResponse, Failure> {
    let store = of(state, this)?;
    if cursor.is_some() {
        let text = "list_keys: cursor not supported";
        return Err(Failure::Other(text.to_owned()));
    }
    let keys = super::keys(state, &store).await?;
    Ok(KeyResponse { keys, cursor: None })
}

async fn get_many(
    state: &mut State,
    this: &Resource<Handle>,
    keys: Vec<String>,
) -> Result<Vec<FoundPair>, Failure> {
    let store = of(state, this)?;
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let _lent = state.lend(size_of_keys(&keys)).map_err(too_much)?;
    let most = most(state);
    let pairs = store.of(store.store.get_many(keys, most)).await;
    received(state, pairs, |pairs| {
        pairs
            .iter()
            .map(|(key, value)| key.len() + size(value))
            .sum()
    })
}

async fn set_many(
    state: &mut State,
    this: &Resource<Handle>,
    pairs: Vec<Pair>,
) -> Result<(), Failure> {
    let store = of(state, this)?;
    if pairs.is_empty() {
        return Ok(());
    }
    let bytes = pairs.iter().map(|(key, value)| key.len() + value.len());
    let _lent = state.lend(bytes.sum()).map_err(too_much)?;
    store.of(store.store.set_many(pairs)).await
}

async fn delete_many(
    state: &mut State,
    this: &Resource<Handle>,
    keys: Vec<String>,
) -> Result<(), Failure> {
    let store = of(state, this)?;
    if keys.is_empty() {
        return Ok(());
    }
    let _lent = state.lend(size_of_keys(&keys)).map_err(too_much)?;
    store.of(store.store.delete_many(keys)).await
}

/// A handle for a key with its present value.
async fn read(state: &mut State, store: Handle, key: String) -> Result<Resource<Cas>, Failure> {
    let value = get(state, &store, &key).await?;
    let cas = Cas { store, key, value };
    let pushed = state.table.push(cas);
    pushed.map_err(|error| Failure::Other(error.to_string()))
}

/// Reads the value again, and remembers it for the swap.
async fn current(
    state: &mut State,
    this: &Resource<Cas>,
) -> wasmtime::Result<Result<Option<Vec<u8>>, Failure>> {
    let cas = state.table.get(this)?;
    let (store, key) = (cas.store.clone(), cas.key.clone());
    let value = get(state, &store, &key).await;
    if let Ok(value) = &value {
        state.table.get_mut(this)?.value.clone_from(value);
    }
    Ok(value)
}

async fn swap(
    state: &mut State,
    this: Resource<Cas>,
    value: Vec<u8>,
) -> wasmtime::Result<Result<(), CasFault>> {
    let Cas {
        store,
        key,
        value: before,
    } = state.table.delete(this)?;
    let _lent = match state.lend(value.len() + size(&before)) {
        Ok(lent) => lent,
        Err(error) => return Ok(Err(too_much(error).into())),
    };
    let swapped = store.store.swap(key.clone(), before, value);
    Ok(match store.of(swapped).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(match read(state, store, key).await {
            Ok(fresh) => CasFault::CasFailed(fresh),
            Err(failure) => failure.into(),
        }),
        Err(failure) => Err(failure.into()),
    })
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    add_store(linker)?;
    add_batch(linker)?;
    add_atomics(linker)
}

fn add_store(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut stores = linker.instance(STORE)?;
    add_resource(&mut stores, "bucket")?;
    stores.func_wrap("open", |mut cx, (label,): (String,)| {
        Ok((open(cx.data_mut(), STORE, &label).map_err(Fault::from),))
    })?;
    stores.func_wrap_async(
        "[method]bucket.get",
        |mut cx: StoreContextMut<'_, State>, (this, key): (Resource<Handle>, String)| {
            Box::new(async move {
                let value = match of(cx.data(), &this) {
                    Ok(store) => get(cx.data_mut(), &store, &key).await,
                    Err(failure) => Err(failure),
                };
                Ok((value.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "[method]bucket.set",
        |mut cx: StoreContextMut<'_, State>,
         (this, key, value): (Resource<Handle>, String, Vec<u8>)| {
            Box::new(async move {
                let done = set(cx.data_mut(), &this, key, value).await;
                Ok((done.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "[method]bucket.delete",
        |cx: StoreContextMut<'_, State>, (this, key): (Resource<Handle>, String)| {
            Box::new(async move {
                let done = match of(cx.data(), &this) {
                    Ok(store) => store.of(store.store.delete(key)).await,
                    Err(failure) => Err(failure),
                };
                Ok((done.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "[method]bucket.exists",
        |cx: StoreContextMut<'_, State>, (this, key): (Resource<Handle>, String)| {
            Box::new(async move {
                let exists = match of(cx.data(), &this) {
                    Ok(store) => store.of(store.store.exists(&key)).await,
                    Err(failure) => Err(failure),
                };
                Ok((exists.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "[method]bucket.list-keys",
        |mut cx: StoreContextMut<'_, State>, (this, cursor): (Resource<Handle>, Option<String>)| {
            Box::new(async move {
                let keys = keys(cx.data_mut(), &this, cursor.as_deref()).await;
                Ok((keys.map_err(Fault::from),))
            })
        },
    )
}

fn add_batch(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut batch = linker.instance(BATCH)?;
    batch.func_wrap_async(
        "get-many",
        |mut cx: StoreContextMut<'_, State>, (this, keys): (Resource<Handle>, Vec<String>)| {
            Box::new(async move {
                let pairs = get_many(cx.data_mut(), &this, keys).await;
                Ok((pairs.map_err(Fault::from),))
            })
        },
    )?;
    batch.func_wrap_async(
        "set-many",
        |mut cx: StoreContextMut<'_, State>, (this, pairs): (Resource<Handle>, Vec<Pair>)| {
            Box::new(async move {
                let done = set_many(cx.data_mut(), &this, pairs).await;
                Ok((done.map_err(Fault::from),))
            })
        },
    )?;
    batch.func_wrap_async(
        "delete-many",
        |mut cx: StoreContextMut<'_, State>, (this, keys): (Resource<Handle>, Vec<String>)| {
            Box::new(async move {
                let done = delete_many(cx.data_mut(), &this, keys).await;
                Ok((done.map_err(Fault::from),))
            })
        },
    )
}

fn add_atomics(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut atomics = linker.instance(ATOMICS)?;
    atomics.resource("cas", ResourceType::host::<Cas>(), |mut store, rep| {
        let cas = Resource::<Cas>::new_own(rep);
        store.data_mut().table.delete(cas)?;
        Ok(())
    })?;
    atomics.func_wrap_async(
        "[static]cas.new",
        |mut cx: StoreContextMut<'_, State>, (this, key): (Resource<Handle>, String)| {
            Box::new(async move {
                let cas = match of(cx.data(), &this) {
                    Ok(store) => read(cx.data_mut(), store, key).await,
                    Err(failure) => Err(failure),
                };
                Ok((cas.map_err(Fault::from),))
            })
        },
    )?;
    atomics.func_wrap_async(
        "[method]cas.current",
        |mut cx: StoreContextMut<'_, State>, (this,): (Resource<Cas>,)| {
            Box::new(async move {
                let value = current(cx.data_mut(), &this).await?;
                Ok((value.map_err(Fault::from),))
            })
        },
    )?;
    atomics.func_wrap_async(
        "increment",
        |cx: StoreContextMut<'_, State>, (this, key, delta): (Resource<Handle>, String, i64)| {
            Box::new(async move {
                let sum = match of(cx.data(), &this) {
                    Ok(store) => store.of(store.store.increment(key, delta)).await,
                    Err(failure) => Err(failure),
                };
                Ok((sum.map_err(Fault::from),))
            })
        },
    )?;
    atomics.func_wrap_async(
        "swap",
        |mut cx: StoreContextMut<'_, State>, (this, value): (Resource<Cas>, Vec<u8>)| {
            Box::new(async move { Ok((swap(cx.data_mut(), this, value).await?,)) })
        },
    )
}
