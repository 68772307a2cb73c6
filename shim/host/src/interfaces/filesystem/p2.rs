//! `wasi:filesystem/types` of WASI 0.2.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self as p2, DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};

use super::open::{How, Opening, Refused, how};
use super::{OPEN_AT, keep};
use crate::state::State;

/// The interface in the form that the linker needs.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

type Asked = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
);

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(TYPES)?.func_wrap_async(
        OPEN_AT,
        |mut store: StoreContextMut<'_, State>, asked: Asked| {
            Box::new(async move { Ok((open_at(store.data_mut(), asked).await?,)) })
        },
    )
}

/// Opens what a guest names.
pub(in crate::interfaces) async fn open_at(
    state: &mut State,
    (dir, follow, path, open, flags): Asked,
) -> wasmtime::Result<Result<Resource<Descriptor>, ErrorCode>> {
    let how = how!(p2, follow, open, flags);
    let opening = Opening::new(state, &dir, path.clone(), how)?;
    match opening.open().await {
        Ok(opened) => Ok(keep(state, opened)?.map_err(Into::into)),
        Err(Refused::Error(error)) => Ok(Err(error.into())),
        Err(Refused::NoSuchCall) => {
            let mut view = state.filesystem();
            HostDescriptor::open_at(&mut view, dir, follow, path, open, flags)
                .await
                .map(Ok)
                .or_else(|error| error.downcast().map(Err))
        }
    }
}
