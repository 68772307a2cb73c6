//! `wasi:filesystem/types` of WASI 0.3.

use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    self as p3, DescriptorFlags, HostDescriptorWithStore as _, OpenFlags, PathFlags,
};

use super::open::{How, Opening, Refused, how};
use super::{OPEN_AT, keep};
use crate::state::State;

/// The interface in the form that the linker needs.
const TYPES: &str = "wasi:filesystem/types@0.3.0";

type Asked = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
);

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(TYPES)?.func_wrap_concurrent(
        OPEN_AT,
        |store: &Accessor<State>, asked: Asked| {
            Box::pin(async move {
                let (dir, follow, path, open, flags) = asked;
                let how = how!(p3, follow, open, flags);
                let opening =
                    store.with(|mut store| Opening::new(store.get(), &dir, path.clone(), how))?;
                let result = match opening.open().await {
                    Ok(opened) => store
                        .with(|mut store| keep(store.get(), opened))?
                        .map_err(Into::into),
                    Err(Refused::Error(error)) => Err(error.into()),
                    Err(Refused::NoSuchCall) => {
                        let store = store.with_getter::<WasiFilesystem>(State::filesystem);
                        WasiFilesystem::open_at(&store, dir, follow, path, open, flags)
                            .await
                            .map(Ok)
                            .or_else(|error| error.downcast().map(Err))?
                    }
                };
                Ok((result,))
            })
        },
    )
}
