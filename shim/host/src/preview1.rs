//! Preview 1, for commands that are core modules: as `wasmtime-wasi` offers it, but that
//! only regular files and folders are opened.

use std::sync::Arc;

use skiff_engine::Guest;
use wasmtime::{AsContextMut as _, Caller, Extern, Linker, ResourceLimiter};
use wasmtime_wasi::p1::types::{Errno, Fd, Filetype, Lookupflags};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{WasiSnapshotPreview1, path_open};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wiggle::{GuestMemory, GuestPtr};

use crate::Grants;
use crate::meter::Meter;
use crate::state::wasi;

/// Both names that preview 1 has had.
const NAMES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];
const OPEN: &str = "path_open";

/// What a guest gives to open a file, in either version.
type Asked = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// What a store holds for a module of preview 1.
pub(crate) struct Preview1 {
    wasi: WasiP1Ctx,
    meter: Meter,
}

impl Preview1 {
    pub(crate) fn new(grants: &Arc<Grants>) -> Self {
        Preview1 {
            wasi: wasi(grants).build_p1(),
            meter: Meter::new(grants),
        }
    }

    pub(crate) fn meter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.meter
    }

    pub(crate) fn add_to_linker(linker: &mut Linker<Preview1>) -> wasmtime::Result<()> {
        p1::add_to_linker_async(linker, |state| &mut state.wasi)?;
        wasmtime_wasi::p0::add_to_linker_async(linker, |state| &mut state.wasi)?;
        linker.allow_shadowing(true);
        for name in NAMES {
            linker.func_wrap_async(name, OPEN, |caller, asked| Box::new(open(caller, asked)))?;
        }
        linker.allow_shadowing(false);
        Ok(())
    }
}

impl Guest for Preview1 {
    fn ticked(&mut self) -> wasmtime::Result<()> {
        // What the host holds for it are the files that it has open.
        Ok(self.meter.check(0)?)
    }
}

/// `path_open` that looks first: `wasmtime-wasi` would wait for the other end of a FIFO.
/// Whoever shares the volume may put one there between the look and the opening; then
/// this command waits, and nobody else.
async fn open(mut caller: Caller<'_, Preview1>, asked: Asked) -> wasmtime::Result<i32> {
    let (fd, follow, path, length, flags, base, inheriting, state_of, opened) = asked;
    let fuel = caller.as_context_mut().hostcall_fuel();
    let export = caller.get_export("memory");
    let (mut memory, state) = match &export {
        Some(Extern::Memory(memory)) => {
            let (memory, state) = memory.data_and_store_mut(&mut caller);
            (GuestMemory::Unshared(memory), state)
        }
        Some(Extern::SharedMemory(memory)) => {
            (GuestMemory::Shared(memory.data()), caller.data_mut())
        }
        _ => wasmtime::bail!("missing required memory export"),
    };
    let wasi = &mut state.wasi;
    wasi.set_hostcall_fuel(fuel);
    if let Ok(follow) = Lookupflags::try_from(follow) {
        let path = GuestPtr::<str>::new((path as u32, length as u32));
        let found = wasi
            .path_filestat_get(&mut memory, Fd::from(fd as u32), follow, path)
            .await;
        let refused = match found {
            Ok(found) => !matches!(
                found.filetype,
                Filetype::RegularFile | Filetype::Directory | Filetype::SymbolicLink
            ),
            // It says so of a socket. Any other fault is the same to the opening.
            Err(error) => error.downcast().is_err(),
        };
        if refused {
            return Ok(Errno::Perm as i32);
        }
    }
    path_open(
        wasi,
        &mut memory,
        fd,
        follow,
        path,
        length,
        flags,
        base,
        inheriting,
        state_of,
        opened,
    )
    .await
}
