//! `fermyon:spin/variables` of version 2.

use wasmtime::component::{ComponentType, Linker, Lower};

use super::Failure;
use crate::state::State;

/// Its `error`, and that of version 3.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub(super) enum Fault {
    #[component(name = "invalid-name")]
    InvalidName(String),
    #[component(name = "undefined")]
    Undefined(String),
    #[component(name = "provider")]
    Provider(String),
    #[component(name = "other")]
    #[allow(
        dead_code,
        reason = "the interface defines this case; it is not used here"
    )]
    Other(String),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::InvalidName(text) => Fault::InvalidName(text),
            Failure::Undefined(text) => Fault::Undefined(text),
            Failure::Provider(text) => Fault::Provider(text),
        }
    }
}

const NAME: &str = "fermyon:spin/variables@2.0.0";

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .instance(NAME)?
        .func_wrap("get", |cx, (name,): (String,)| {
            let value = cx.data().grants().variables.get(&name);
            Ok((value.map_err(Fault::from),))
        })
}

pub(super) fn ask(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .instance(NAME)?
        .func_wrap_async("get", |cx, (name,): (String,)| {
            let variables = cx.data().grants().variables.clone();
            Box::new(async move { Ok((variables.ask(&name).await.map_err(Fault::from),)) })
        })
}
