//! `fermyon:spin/key-value` without a version: stores are numbers.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower, Resource};

use super::{Failure, Handle, find, get, keys, open, too_much};
use crate::state::State;

const INTERFACE: &str = "fermyon:spin/key-value";

/// Its `error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[allow(
    dead_code,
    reason = "the interface has these cases; not all are used here"
)]
enum Fault {
    #[component(name = "store-table-full")]
    StoreTableFull,
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "invalid-store")]
    InvalidStore,
    #[component(name = "no-such-key")]
    NoSuchKey,
    #[component(name = "io")]
    Io(String),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::StoreTableFull => Fault::StoreTableFull,
            Failure::NoSuchStore => Fault::NoSuchStore,
            Failure::AccessDenied => Fault::AccessDenied,
            Failure::Other(text) => Fault::Io(text),
        }
    }
}

/// The store of a number. Another number is a trap, as in Spin.
fn of(state: &State, number: u32) -> wasmtime::Result<Handle> {
    Ok(find(state, &Resource::new_borrow(number))?)
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut stores = linker.instance(INTERFACE)?;
    stores.func_wrap("open", |mut cx, (label,): (String,)| {
        let opened = open(cx.data_mut(), INTERFACE, &label);
        let number = opened.map(|handle| handle.rep());
        Ok((number.map_err(Fault::from),))
    })?;
    stores.func_wrap("close", |mut cx, (number,): (u32,)| {
        let handle = Resource::<Handle>::new_own(number);
        cx.data_mut().table.delete(handle)?;
        Ok(())
    })?;
    stores.func_wrap_async(
        "get",
        |mut cx: StoreContextMut<'_, State>, (number, key): (u32, String)| {
            Box::new(async move {
                let store = of(cx.data(), number)?;
                let value = get(cx.data_mut(), &store, &key).await;
                let value = value.map_err(Fault::from);
                Ok((value.and_then(|value| value.ok_or(Fault::NoSuchKey)),))
            })
        },
    )?;
    stores.func_wrap_async(
        "set",
        |mut cx: StoreContextMut<'_, State>, (number, key, value): (u32, String, Vec<u8>)| {
            Box::new(async move {
                let store = of(cx.data(), number)?;
                let done = match cx.data_mut().lend(value.len()) {
                    Ok(_lent) => store.of(store.store.set(key, value)).await,
                    Err(error) => Err(too_much(error)),
                };
                Ok((done.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "delete",
        |cx: StoreContextMut<'_, State>, (number, key): (u32, String)| {
            Box::new(async move {
                let store = of(cx.data(), number)?;
                let done = store.of(store.store.delete(key)).await;
                Ok((done.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "exists",
        |cx: StoreContextMut<'_, State>, (number, key): (u32, String)| {
            Box::new(async move {
                let store = of(cx.data(), number)?;
                let exists = store.of(store.store.exists(&key)).await;
                Ok((exists.map_err(Fault::from),))
            })
        },
    )?;
    stores.func_wrap_async(
        "get-keys",
        |mut cx: StoreContextMut<'_, State>, (number,): (u32,)| {
            Box::new(async move {
                let store = of(cx.data(), number)?;
                let keys = keys(cx.data_mut(), &store).await;
                Ok((keys.map_err(Fault::from),))
            })
        },
    )
}
