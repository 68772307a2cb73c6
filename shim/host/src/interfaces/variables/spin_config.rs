//! `fermyon:spin/config`.

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
    #[component(name = "provider")]
    Provider(String),
    #[component(name = "invalid-key")]
    InvalidKey(String),
    #[component(name = "invalid-schema")]
    InvalidSchema(String),
    #[component(name = "other")]
    Other(String),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::InvalidName(text) => Fault::InvalidKey(text),
            Failure::Undefined(text) | Failure::Provider(text) => Fault::Provider(text),
        }
    }
}

const NAME: &str = "fermyon:spin/config";

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .instance(NAME)?
        .func_wrap("get-config", |cx, (key,): (String,)| {
            let value = cx.data().grants().variables.get(&key);
            Ok((value.map_err(Fault::from),))
        })
}

pub(super) fn ask(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .instance(NAME)?
        .func_wrap_async("get-config", |cx, (key,): (String,)| {
            let variables = cx.data().grants().variables.clone();
            Box::new(async move { Ok((variables.ask(&key).await.map_err(Fault::from),)) })
        })
}
