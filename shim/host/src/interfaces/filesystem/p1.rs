//! `path_open` of preview 1, under both its names: only regular files and folders are
//! opened.

use wasmtime::{AsContextMut as _, Caller, Extern, Linker};
use wasmtime_wasi::p1::types::{Errno, Fd, Filetype, Lookupflags};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{WasiSnapshotPreview1, path_open};
use wiggle::{GuestMemory, GuestPtr};

use crate::call::Preview1;

/// Both names of preview 1.
const NAMES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];
const OPEN: &str = "path_open";

/// The parameters of `path_open`, in either version.
type Asked = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// Replaces `wasmtime-wasi`'s function for opening files.
pub(crate) fn add_to_linker(linker: &mut Linker<Preview1>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    for name in NAMES {
        linker.func_wrap_async(name, OPEN, |caller, asked| Box::new(open(caller, asked)))?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// `path_open` with a check before: `wasmtime-wasi` would block on a FIFO. Others who share
/// the volume may create one between the check and the opening; then only this command
/// waits.
async fn open(mut caller: Caller<'_, Preview1>, asked: Asked) -> wasmtime::Result<i32> {
    if caller.data().has_no_room_for_files() {
        return Ok(Errno::Mfile as i32);
    }
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
            // This is the error for a socket. Any other error also occurs when the file is
            // opened.
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
