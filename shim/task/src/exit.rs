//! A container's exit codes that come from Skiff, not from what runs in it.

/// A fault of Skiff itself.
pub const INTERNAL: u8 = 70;

/// A container's executable exists but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;

/// Killed or lost: containerd's convention for processes without an exit status.
pub const KILLED: u8 = 137;
