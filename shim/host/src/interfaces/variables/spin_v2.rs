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

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut variables = linker.instance("fermyon:spin/variables@2.0.0")?;
    variables.func_wrap("get", |cx, (name,): (String,)| {
        let value = cx.data().grants().variables.get(&name);
        Ok((value.map_err(Fault::from),))
    })
}
