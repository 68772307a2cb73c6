//! `fermyon:spin/key-value` of version 2.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource};

use super::{Failure, Handle, add_resource, find, get, keys, open, too_much};
use crate::state::State;

const INTERFACE: &str = "fermyon:spin/key-value@2.0.0";

/// Its `error`, and that of version 3.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Fault {
    #[component(name = "store-table-full")]
    StoreTableFull,
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
            Failure::StoreTableFull => Fault::StoreTableFull,
            Failure::NoSuchStore => Fault::NoSuchStore,
            Failure::AccessDenied => Fault::AccessDenied,
            Failure::Other(text) => Fault::Other(text),
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut stores = linker.instance(INTERFACE)?;
    add_resource(&mut stores, "store")?;
    stores.func_wrap("[static]store.open", |mut cx, (label,): (String,)| {
        let opened = open(cx.data_mut(), INTERFACE, &label);
        Ok((opened.map_err(Fault::from),))
    })?;
    stores.func_wrap_async(
        "[method]store.get",
        |mut cx: StoreContextMut<'_, State>, (this, key): (Resource<Handle>, String)| {
            Box::new(async move {
                let store = find(cx.data(), &this)?;
                let value = get(cx.data_mut(), &store, &key).await;
                Ok((value.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "[method]store.set",
        |mut cx: StoreContextMut<'_, State>,
         (this, key, value): (Resource<Handle>, String, Vec<u8>)| {
            Box::new(async move {
                let store = find(cx.data(), &this)?;
                let done = match cx.data_mut().lend(value.len()) {
                    Ok(_lent) => store.of(store.store.set(key, value)).await,
                    Err(error) => Err(too_much(error)),
                };
                Ok((done.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "[method]store.delete",
        |cx: StoreContextMut<'_, State>, (this, key): (Resource<Handle>, String)| {
            Box::new(async move {
                let store = find(cx.data(), &this)?;
                let done = store.of(store.store.delete(key)).await;
                Ok((done.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "[method]store.exists",
        |cx: StoreContextMut<'_, State>, (this, key): (Resource<Handle>, String)| {
            Box::new(async move {
                let store = find(cx.data(), &this)?;
                let exists = store.of(store.store.exists(&key)).await;
                Ok((exists.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "[method]store.get-keys",
        |mut cx: StoreContextMut<'_, State>, (this,): (Resource<Handle>,)| {
            Box::new(async move {
                let store = find(cx.data(), &this)?;
                let keys = keys(cx.data_mut(), &store).await;
                Ok((keys.map_err(Fault::from),))
            })
        },
    )
}
