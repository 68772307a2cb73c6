//! `wasi:config/store`.

use wasmtime::component::{ComponentType, Linker, Lower};

use super::Failure;
use crate::state::State;

/// Its `error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[allow(
    dead_code,
    reason = "the interface has these cases; not all are used here"
)]
enum Fault {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut store = linker.instance("wasi:config/store@0.2.0-draft-2024-09-27")?;
    store.func_wrap("get", |cx, (key,): (String,)| {
        let value = match cx.data().grants().variables.get(&key) {
            Ok(value) => Ok(Some(value)),
            Err(Failure::InvalidName(_) | Failure::Undefined(_)) => Ok(None),
            Err(Failure::Provider(text)) => Err(Fault::Upstream(text)),
        };
        Ok((value,))
    })?;
    store.func_wrap("get-all", |cx, (): ()| {
        let all = cx.data().grants().variables.all();
        let all = all.map_err(|failure| match failure {
            Failure::InvalidName(text) | Failure::Undefined(text) | Failure::Provider(text) => {
                Fault::Upstream(text)
            }
        });
        Ok((all,))
    })
}
