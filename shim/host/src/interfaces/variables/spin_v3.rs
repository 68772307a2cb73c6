//! `spin:variables/variables` of version 3, which is asynchronous.

use wasmtime::component::Linker;

use super::spin_v2::Fault;
use crate::state::State;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut variables = linker.instance("spin:variables/variables@3.0.0")?;
    variables.func_wrap_concurrent("get", |accessor, (name,): (String,)| {
        let variables = accessor.with(|mut access| access.get().grants().variables.clone());
        Box::pin(async move { Ok((variables.ask(&name).await.map_err(Fault::from),)) })
    })
}
