//! `wasi:filesystem/types` of 0.2.0-rc-2023-10-18.

use wasmtime::component::{ComponentType, Lift, Linker, Resource, flags};
use wasmtime::{StoreContextMut, component::LinkerInstance};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor as _, OpenFlags, PathFlags,
};

use crate::interfaces::filesystem::p2::open_at;
use crate::state::State;

// What may be done with a file.
flags! {
    Modes {
        #[component(name = "readable")]
        const READABLE;
        #[component(name = "writable")]
        const WRITABLE;
        #[component(name = "executable")]
        const EXECUTABLE;
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
enum Access {
    #[component(name = "access")]
    Modes(Modes),
    #[component(name = "exists")]
    Exists,
}

type Opened = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
    Modes,
);
type Accessed = (Resource<Descriptor>, PathFlags, String, Access);
type Changed = (Resource<Descriptor>, PathFlags, String, Modes);

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    types.func_wrap_async(
        "[method]descriptor.open-at-rc20231018",
        |mut store: StoreContextMut<'_, State>, asked: Opened| {
            Box::new(async move {
                // The modes of new files are the host's, as in the release.
                let (dir, follow, path, open, flags, _) = asked;
                let asked = (dir, follow, path, open, flags);
                Ok((open_at(store.data_mut(), asked).await?,))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.access-at",
        |mut store: StoreContextMut<'_, State>, asked: Accessed| {
            Box::new(async move { Ok((access_at(store.data_mut(), asked).await?,)) })
        },
    )?;
    for name in [
        "change-file-permissions-at",
        "change-directory-permissions-at",
    ] {
        let name = format!("[method]descriptor.{name}");
        types.func_wrap(&name, |store, (dir, ..): Changed| unsupported(store, &dir))?;
    }
    for name in [
        "lock-shared",
        "lock-exclusive",
        "try-lock-shared",
        "try-lock-exclusive",
        "unlock",
    ] {
        lock(&mut types, name)?;
    }
    Ok(())
}

fn lock(types: &mut LinkerInstance<'_, State>, name: &str) -> wasmtime::Result<()> {
    let name = format!("[method]descriptor.{name}");
    types.func_wrap(&name, |store, (file,): (Resource<Descriptor>,)| {
        unsupported(store, &file)
    })
}

/// What no release of WASI has, and no host of that time did.
fn unsupported(
    store: StoreContextMut<'_, State>,
    of: &Resource<Descriptor>,
) -> wasmtime::Result<(Result<(), ErrorCode>,)> {
    store.data().table.get(of)?;
    Ok((Err(ErrorCode::Unsupported),))
}

/// Whether there is such a file, and what may be done with it as far as its folder tells.
async fn access_at(
    state: &mut State,
    (dir, follow, path, access): Accessed,
) -> wasmtime::Result<Result<(), ErrorCode>> {
    let read_only = match state.table.get(&dir)? {
        Descriptor::Dir(dir) => dir.perms.write_not_permitted(),
        Descriptor::File(_) => return Ok(Err(ErrorCode::NotDirectory)),
    };
    if let Err(error) = state.filesystem().stat_at(dir, follow, path).await {
        return error.downcast().map(Err);
    }
    Ok(match access {
        Access::Modes(modes) if modes.contains(Modes::EXECUTABLE) => Err(ErrorCode::Unsupported),
        Access::Modes(modes) if modes.contains(Modes::WRITABLE) && read_only => {
            Err(ErrorCode::NotPermitted)
        }
        Access::Modes(_) | Access::Exists => Ok(()),
    })
}
