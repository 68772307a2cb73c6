//! Exit codes of a container that come from here, and not from what runs in it.

/// A fault of Skiff itself.
pub const INTERNAL: u8 = 70;

/// A container's executable is there and cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;

/// Killed, or lost: containerd's convention for what has no status of its own.
pub const KILLED: u8 = 137;
