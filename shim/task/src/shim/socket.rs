//! The socket on which the shim accepts containerd's calls, which must be removed with
//! the shim.

use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;

use containerd_shim::Flags;

/// The descriptor at which containerd's shims receive their listening socket.
const SOCKET: i32 = 3;

/// The socket's file, and the process that removes it when it ends.
static OURS: OnceLock<(PathBuf, u32)> = OnceLock::new();

/// Removes the socket's file when this process ends. The library does so too, but reads
/// its name from a folder that containerd may have removed by then.
pub(crate) fn remove_at_exit() {
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
    // A forked process has inherited this function, but does not own the socket.
    if let Some((path, owner)) = OURS.get()
        && *owner == process::id()
    {
        // It is gone already if the library was in time.
        std::fs::remove_file(path).ok();
    }
}

/// Removes the socket of a killed shim, if the call is for the container that its pod is
/// named after; other containers have no socket of their own.
pub(crate) fn remove_left_behind(flags: &Flags) {
    let address = containerd_shim::socket_address(&flags.address, &flags.namespace, &flags.id);
    let path = address.strip_prefix("unix://").unwrap_or(&address);
    remove_unheard(Path::new(path));
}

/// Removes a socket that has no listener.
fn remove_unheard(path: &Path) {
    let answer = UnixStream::connect(path);
    if answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        && let Err(error) = std::fs::remove_file(path)
    {
        log::warn!("cannot remove the socket {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_nobody_listens_at_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).expect("bound");
        remove_unheard(&path);
        assert!(path.exists());
        drop(listener);
        remove_unheard(&path);
        assert!(!path.exists());
        remove_unheard(&path);
    }
}
