//! `spin:key-value/key-value` of version 3, which is asynchronous.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec::IntoIter;

use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, Destination, FutureReader, Linker, Resource, StreamProducer, StreamReader,
    StreamResult, VecBuffer,
};

use super::spin_v2::Fault;
use super::{
    Failure, Handle, add_resource, find, most, open, received, size, size_of_keys, too_much,
};
use crate::held::Lent;
use crate::state::State;

const INTERFACE: &str = "spin:key-value/key-value@3.0.0";

/// How many keys are passed to the guest at a time.
const KEYS_AT_ONCE: usize = 256;

/// The store of a handle, or the error for a handle that is none.
fn of(accessor: &Accessor<State>, this: &Resource<Handle>) -> Result<Handle, Failure> {
    accessor.with(|mut access| find(access.get(), this).map_err(|_| Failure::NoSuchStore))
}

async fn get(
    accessor: &Accessor<State>,
    this: Resource<Handle>,
    key: &str,
) -> Result<Option<Vec<u8>>, Failure> {
    let store = of(accessor, &this)?;
    let most = accessor.with(|mut access| most(access.get()));
    let value = store.of(store.store.get(key, most)).await;
    accessor.with(|mut access| received(access.get(), value, size))
}

async fn set(
    accessor: &Accessor<State>,
    this: Resource<Handle>,
    key: String,
    value: Vec<u8>,
) -> Result<(), Failure> {
    let store = of(accessor, &this)?;
    let lent = accessor.with(|mut access| access.get().lend(value.len()));
    let _lent = lent.map_err(too_much)?;
    store.of(store.store.set(key, value)).await
}

async fn delete(
    accessor: &Accessor<State>,
    this: Resource<Handle>,
    key: String,
) -> Result<(), Failure> {
    let store = of(accessor, &this)?;
    store.of(store.store.delete(key)).await
}

async fn exists(
    accessor: &Accessor<State>,
    this: Resource<Handle>,
    key: &str,
) -> Result<bool, Failure> {
    let store = of(accessor, &this)?;
    store.of(store.store.exists(key)).await
}

/// All keys, and what was taken of the guest's memory limit for them.
async fn keys(accessor: &Accessor<State>, this: Resource<Handle>) -> Result<Keys, Failure> {
    let store = of(accessor, &this)?;
    let most = accessor.with(|mut access| most(access.get()));
    let keys = store.of(store.store.keys(most)).await?;
    let lent = accessor.with(|mut access| access.get().lend(size_of_keys(&keys)));
    Ok(Keys {
        _lent: lent.map_err(too_much)?,
        keys: keys.into_iter(),
    })
}

/// Keys on their way to the guest.
#[derive(Default)]
struct Keys {
    keys: IntoIter<String>,
    _lent: Option<Lent>,
}

impl StreamProducer<State> for Keys {
    type Item = String;
    type Buffer = VecBuffer<String>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: StoreContextMut<'a, State>,
        mut to: Destination<'a, String, VecBuffer<String>>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let keys = &mut self.get_mut().keys;
        let some: Vec<String> = keys.take(KEYS_AT_ONCE).collect();
        to.set_buffer(some.into());
        Poll::Ready(Ok(match keys.len() {
            0 => StreamResult::Dropped,
            _ => StreamResult::Completed,
        }))
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut stores = linker.instance(INTERFACE)?;
    add_resource(&mut stores, "store")?;
    stores.func_wrap_concurrent("[static]store.open", |accessor, (label,): (String,)| {
        let opened = accessor.with(|mut access| open(access.get(), INTERFACE, &label));
        Box::pin(async move { Ok((opened.map_err(Fault::from),)) })
    })?;
    stores.func_wrap_concurrent("[method]store.get", |accessor, (this, key): (_, String)| {
        Box::pin(async move { Ok((get(accessor, this, &key).await.map_err(Fault::from),)) })
    })?;
    stores.func_wrap_concurrent("[method]store.set", |accessor, (this, key, value)| {
        Box::pin(async move {
            let done = set(accessor, this, key, value).await;
            Ok((done.map_err(Fault::from),))
        })
    })?;
    stores.func_wrap_concurrent("[method]store.delete", |accessor, (this, key)| {
        Box::pin(async move { Ok((delete(accessor, this, key).await.map_err(Fault::from),)) })
    })?;
    stores.func_wrap_concurrent(
        "[method]store.exists",
        |accessor, (this, key): (_, String)| {
            Box::pin(async move { Ok((exists(accessor, this, &key).await.map_err(Fault::from),)) })
        },
    )?;
    stores.func_wrap_concurrent("[method]store.get-keys", |accessor, (this,)| {
        Box::pin(async move {
            let (keys, done) = match keys(accessor, this).await {
                Ok(keys) => (keys, Ok(())),
                Err(failure) => (Keys::default(), Err(Fault::from(failure))),
            };
            accessor.with(|mut access| {
                let keys = StreamReader::new(&mut access, keys)?;
                let done = async move { wasmtime::Result::<Result<(), Fault>>::Ok(done) };
                Ok(((keys, FutureReader::new(&mut access, Box::pin(done))?),))
            })
        })
    })
}
