//! Drops privileges that a container would otherwise inherit from its shim.

use std::ffi::CString;
use std::io;

/// What cannot be given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivilegesError {
    #[error("cannot leave the groups of the node's user")]
    Groups(#[source] io::Error),
    #[error("cannot leave the node's session keyring")]
    Keyring(#[source] io::Error),
}

/// Gives up the node's groups, which libcontainer would only replace by others, and the
/// keys of containerd's session. Call this in the process that creates a container.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn inherit_none(id: &str) -> Result<(), PrivilegesError> {
    // SAFETY: no group is read from the empty list.
    if unsafe { libc::setgroups(0, std::ptr::null()) } == -1 {
        return Err(PrivilegesError::Groups(io::Error::last_os_error()));
    }
    join_new_keyring(id).map_err(PrivilegesError::Keyring)
}

/// Joins a session keyring of the container's own, named as runc does.
fn join_new_keyring(id: &str) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let name = CString::new(format!("_ses.{id}"))?;
    // SAFETY: the name is a C string.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    match io::Error::last_os_error() {
        _ if joined >= 0 => Ok(()),
        // A kernel without keyrings has none to inherit.
        error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        error => Err(error),
    }
}
