//! `fermyon:spin/sqlite` without a version: connections are numbers.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};

use super::{Handle, SqlValue, execute, find, open};
use crate::state::State;

const INTERFACE: &str = "fermyon:spin/sqlite";

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut databases = linker.instance(INTERFACE)?;
    databases.func_wrap("open", |mut cx, (label,): (String,)| {
        let opened = open(cx.data_mut(), INTERFACE, &label);
        Ok((opened.map(|handle| handle.rep()),))
    })?;
    databases.func_wrap("close", |mut cx, (number,): (u32,)| {
        let handle = Resource::<Handle>::new_own(number);
        cx.data_mut().table.delete(handle)?;
        Ok(())
    })?;
    databases.func_wrap_async(
        "execute",
        |mut cx: StoreContextMut<'_, State>,
         (number, statement, parameters): (u32, String, Vec<SqlValue>)| {
            Box::new(async move {
                let connection = find(cx.data(), &Resource::new_borrow(number))?;
                let result = execute(cx.data_mut(), &connection, statement, parameters);
                Ok((result.await,))
            })
        },
    )
}
