//! `path_open` of preview 1, in both its names: only regular files and folders are opened.

use wasmtime::{AsContextMut as _, Caller, Extern, Linker};
use wasmtime_wasi::p1::types::{Errno, Fd, Filetype, Lookupflags};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{WasiSnapshotPreview1, path_open};
use wiggle::{GuestMemory, GuestPtr};

use crate::call::Preview1;

/// Both names that preview 1 has had.
const NAMES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];
const OPEN: &str = "path_open";

/// What a guest gives to open a file, in either version.
type Asked = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// Puts our way to open files in the place of `wasmtime-wasi`'s.
pub(crate) fn add_to_linker(linker: &mut Linker<Preview1>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    for name in NAMES {
        linker.func_wrap_async(name, OPEN, |caller, asked| Box::new(open(caller, asked)))?;
    }
    linker.allow_shadowing(false);
    Ok(())
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
    let wasi = state.wasi();
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
