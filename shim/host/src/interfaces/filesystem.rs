//! `wasi:filesystem`: `wasmtime-wasi`'s implementation, except for opening files. Only
//! regular files and folders are opened, without blocking, and only up to a guest's limit.
//!
//! `wasmtime-wasi` opens whatever a path names. A FIFO in a volume would block the whole
//! worker until it is written to, and a guest could use up all descriptors of the process,
//! so that no connection could be accepted.

mod open;
pub(crate) mod p1;
pub(super) mod p2;
mod p3;

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};
use wasmtime_wasi_io::IoView;

use crate::state::State;

/// The function that is replaced in both versions.
const OPEN_AT: &str = "[method]descriptor.open-at";

/// A folder that a guest sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its path on the host.
    pub host: PathBuf,
    /// Its path in the guest.
    pub guest: String,
    /// Whether the guest may write to it.
    pub writable: bool,
}

/// What a component may do with files.
#[derive(Debug, Clone, Default)]
pub struct Filesystem {
    /// Folders that it sees.
    pub mounts: Vec<Mount>,
    /// Whether operations on these folders may block, as they may on volumes: then they run
    /// on a separate thread.
    pub waits: bool,
    /// How many files it may have open.
    pub limits: FileLimits,
}

impl Filesystem {
    /// Opens what is granted. A folder that has vanished since the application was checked
    /// is skipped and logged.
    pub(super) fn open(&self, component: &str, builder: &mut WasiCtxBuilder) {
        // The application's own files are in the page cache.
        builder.allow_blocking_current_thread(!self.waits);
        for mount in &self.mounts {
            let permissions = if mount.writable {
                FsPerms::ReadWrite
            } else {
                FsPerms::ReadOnly
            };
            if let Err(error) = builder.preopened_dir(&mount.host, &mount.guest, permissions) {
                tracing::error!(component_id = %component, path = %mount.host.display(), %error, "A folder of the guest cannot be opened");
            }
        }
    }
}

/// Limits on the files that guests may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// For each guest.
    pub each: usize,
    /// For the process: guests' descriptors have smaller numbers than this. The kernel
    /// assigns the smallest free number, so the rest stays free for connections.
    pub below: RawFd,
}

impl FileLimits {
    /// The customary limit of a program, and more than most ever have open.
    pub const DEFAULT_EACH: usize = 1024;

    /// Whether the next file would have a descriptor that is not for guests.
    pub(crate) fn are_reached(&self) -> bool {
        // The kernel gives the lowest number that is free.
        let next = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        next.map_or(true, |next| next.as_raw_fd() >= self.below)
    }
}

impl Default for FileLimits {
    fn default() -> Self {
        FileLimits {
            each: Self::DEFAULT_EACH,
            below: RawFd::MAX,
        }
    }
}

/// An instance's state for this interface, besides its handles.
#[derive(Default)]
pub(crate) struct Opened {
    /// Whether it was logged that it opens too many files.
    is_told: bool,
}

impl Opened {
    pub(crate) fn renew(&mut self) {
        let Opened { is_told } = self;
        *is_told = false;
    }
}

/// Replaces `wasmtime-wasi`'s functions for opening files.
pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    p2::add_to_linker(linker)?;
    if concurrency {
        p3::add_to_linker(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// Passes the opened file to the guest, unless the guest has too many already.
fn keep(
    state: &mut State,
    opened: Descriptor,
) -> wasmtime::Result<Result<Resource<Descriptor>, io::Error>> {
    let limits = state.grants().filesystem.limits;
    let number = match &opened {
        Descriptor::File(file) => file.file.as_raw_fd(),
        Descriptor::Dir(dir) => dir.dir.as_raw_fd(),
    };
    // If the descriptor's number is small, no guest has many.
    let mut many = || {
        let open = IoView::table(state).iter_mut();
        open.filter(|entry| entry.is::<Descriptor>()).count() >= limits.each
    };
    if number >= limits.below || number.unsigned_abs() as usize >= limits.each && many() {
        too_many(state);
        return Ok(Err(Errno::NOMEM.into()));
    }
    Ok(Ok(IoView::table(state).push(opened)?))
}

/// Logs this once, however often the guest tries again.
fn too_many(state: &mut State) {
    if !std::mem::replace(&mut state.filesystem.is_told, true) {
        tracing::warn!(component_id = %state.grants().component, "The guest has reached its limit of open files; opening more fails");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_are_not_for_guests_are_left_to_others() {
        let limits = FileLimits::default();
        assert!(!limits.are_reached());
        assert!(FileLimits { below: 0, ..limits }.are_reached());
    }
}
