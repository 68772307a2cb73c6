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

const NAME: &str = "wasi:config/store@0.2.0-draft-2024-09-27";

/// The answer of `get`: what is not a variable has no value.
fn one(value: Result<String, Failure>) -> Result<Option<String>, Fault> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Failure::InvalidName(_) | Failure::Undefined(_)) => Ok(None),
        Err(Failure::Provider(text)) => Err(Fault::Upstream(text)),
    }
}

/// The answer of `get-all`.
fn all(values: Result<Vec<(String, String)>, Failure>) -> Result<Vec<(String, String)>, Fault> {
    values.map_err(|failure| match failure {
        Failure::InvalidName(text) | Failure::Undefined(text) | Failure::Provider(text) => {
            Fault::Upstream(text)
        }
    })
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut store = linker.instance(NAME)?;
    store.func_wrap("get", |cx, (key,): (String,)| {
        Ok((one(cx.data().grants().variables.get(&key)),))
    })?;
    store.func_wrap("get-all", |cx, (): ()| {
        Ok((all(cx.data().grants().variables.all()),))
    })
}

pub(super) fn ask(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut store = linker.instance(NAME)?;
    store.func_wrap_async("get", |cx, (key,): (String,)| {
        let variables = cx.data().grants().variables.clone();
        Box::new(async move { Ok((one(variables.ask(&key).await),)) })
    })?;
    store.func_wrap_async("get-all", |cx, (): ()| {
        let variables = cx.data().grants().variables.clone();
        Box::new(async move { Ok((all(variables.ask_all().await),)) })
    })
}
