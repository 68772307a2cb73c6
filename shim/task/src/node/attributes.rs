//! What a mount allows and how it propagates, set by its descriptor.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What a mount allows, as mount_setattr(2) has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes(u64);

impl Attributes {
    /// Nothing can be written.
    pub(crate) const RDONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// Programs get no other user's rights.
    pub(crate) const NOSUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// Device files are no devices.
    pub(crate) const NODEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// Programs cannot be executed.
    pub(crate) const NOEXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);
    /// Nothing is forbidden.
    pub(crate) const NONE: Self = Self(0);

    /// Both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Sets attributes of a mount, and its propagation where that is not 0; of the mounts
/// below it too where `recursive`.
///
/// # Errors
/// What the kernel says: before Linux 5.12 that it cannot.
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
