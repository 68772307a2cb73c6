//! A mount's restrictions and propagation, set through its descriptor.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A mount's restrictions, as in mount_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes(u64);

impl Attributes {
    /// It is read-only.
    pub(crate) const RDONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// Set-user-id and set-group-id bits of programs are ignored.
    pub(crate) const NOSUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// Device files cannot be used as devices.
    pub(crate) const NODEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// Programs cannot be executed.
    pub(crate) const NOEXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);
    /// No restrictions.
    pub(crate) const NONE: Self = Self(0);

    /// Both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Sets attributes of a mount, and its propagation if that is not 0. Includes the mounts
/// below it if `recursive`.
///
/// # Errors
/// The kernel's error: before Linux 5.12 it does not support this.
pub(crate) fn set_attributes(
    mount: &impl AsFd,
    attributes: Attributes,
    propagation: u64,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: attributes.0,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    let below = match recursive {
        true => libc::AT_RECURSIVE,
        false => 0,
    };
    let empty: &CStr = c"";
    // SAFETY: the path is a C string and the structure is as large as it says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH | below,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
