//! The socket at which containerd calls the shim, which has to go with it.

use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process;
use std::sync::OnceLock;

/// Where containerd's shims find the socket that they listen on.
const SOCKET: i32 = 3;

/// The socket's file, and the process whose end is its end.
static OURS: OnceLock<(PathBuf, u32)> = OnceLock::new();

/// Removes the socket's file when this process ends. The library does so too, but
/// reads its name from a folder that containerd may have removed by then.
pub(super) fn remove_at_exit() {
    // SAFETY: the descriptor is only borrowed: it is never closed here.
    let listener = ManuallyDrop::new(unsafe { UnixListener::from_raw_fd(SOCKET) });
    let address = listener.local_addr().ok();
    let path = address.and_then(|address| Some(address.as_pathname()?.to_owned()));
    let Some(path) = path else { return };
    OURS.get_or_init(|| (path, process::id()));
    // SAFETY: the function touches nothing that is gone at the end of a process.
    unsafe { libc::atexit(remove) };
}

extern "C" fn remove() {
    // A forked process has inherited this, and the socket is not its own.
    if let Some((path, owner)) = OURS.get()
        && *owner == process::id()
    {
        // It is gone already where the library was in time.
        std::fs::remove_file(path).ok();
    }
}
