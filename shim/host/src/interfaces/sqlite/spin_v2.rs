//! `fermyon:spin/sqlite` of version 2.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};

use super::{Handle, SqlValue, execute, find, open};
use crate::state::State;

const INTERFACE: &str = "fermyon:spin/sqlite@2.0.0";

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    add_connection(&mut linker.instance(INTERFACE)?, INTERFACE)
}

/// Adds what versions 2 and 3 have in common.
pub(super) fn add_connection(
    databases: &mut LinkerInstance<'_, State>,
    interface: &'static str,
) -> wasmtime::Result<()> {
    let ty = ResourceType::host::<Handle>();
    databases.resource("connection", ty, |mut store, rep| {
        let handle = Resource::<Handle>::new_own(rep);
        store.data_mut().table.delete(handle)?;
        Ok(())
    })?;
    databases.func_wrap(
        "[static]connection.open",
        move |mut cx, (label,): (String,)| Ok((open(cx.data_mut(), interface, &label),)),
    )?;
    databases.func_wrap_async(
        "[method]connection.execute",
        |mut cx: StoreContextMut<'_, State>,
         (this, statement, parameters): (Resource<Handle>, String, Vec<SqlValue>)| {
            Box::new(async move {
                let connection = find(cx.data(), &this)?;
                let result = execute(cx.data_mut(), &connection, statement, parameters);
                Ok((result.await,))
            })
        },
    )
}
