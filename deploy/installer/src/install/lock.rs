//! One installer at a time.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};

use super::InstallError;
use crate::host::{Host, HostError};

/// Held until it is dropped, or its process ends in any way.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held open for its lock")] File);

/// Locks the node's root folder itself, which is the same for every installer of the
/// node, and leaves no file behind.
///
/// # Errors
///
/// If another process has it.
pub(super) fn take(host: &Host) -> Result<Lock, InstallError> {
    let failed = |source: io::Error| HostError {
        what: "lock",
        path: "/".into(),
        source,
    };
    let root = File::open(host.root()).map_err(failed)?;
    match flock(&root, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(root)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(InstallError::Busy),
        Err(error) => Err(failed(error.into()).into()),
    }
}
