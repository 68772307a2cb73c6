//! Exit codes: what an operator finds in the status of the installer's pod.

use std::process::ExitCode as ProcessCode;

use crate::check::CheckError;
use crate::cluster::ClusterError;
use crate::defaults::DefaultsError;
use crate::install::InstallError;
use crate::payload::PayloadError;
use crate::retire::RetireError;

/// How the installer ended. Numbers follow `sysexits.h` where possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, or there was nothing to do.
    Success = 0,
    /// The command line was not understood.
    Usage = 64,
    /// containerd's configuration cannot be read, or must not be changed. Nothing was
    /// changed.
    Configuration = 65,
    /// The node is not supported, or not ready yet. Nothing was changed.
    Unsupported = 66,
    /// The operator's defaults for applications have mistakes. Nothing was changed.
    Defaults = 67,
    /// containerd did not come back with the new configuration. The old one is
    /// in place again.
    Runtime = 69,
    /// A fault of the installer itself, or of its image.
    Internal = 70,
    /// The self-check failed: an application does not run on this node.
    Check = 73,
    /// A file of the node cannot be read or written, or a foreign one is in the way.
    File = 74,
    /// Another installer is at work on this node.
    Busy = 75,
    /// Pods still use the runtime.
    InUse = 76,
    /// The cluster's API does not answer, or refuses.
    Cluster = 77,
    /// There is no version to go back to.
    NoPrevious = 78,
}

impl From<ExitCode> for ProcessCode {
    fn from(code: ExitCode) -> Self {
        ProcessCode::from(code as u8)
    }
}

/// The code of a failure, by its chain of causes.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    error
        .chain()
        .find_map(code_of_cause)
        .unwrap_or(ExitCode::Internal)
}

fn code_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<ExitCode> {
    if let Some(error) = cause.downcast_ref::<InstallError>() {
        Some(error.exit_code())
    } else if let Some(error) = cause.downcast_ref::<RetireError>() {
        Some(error.exit_code())
    } else if cause.is::<CheckError>() {
        Some(ExitCode::Check)
    } else if cause.is::<ClusterError>() {
        Some(ExitCode::Cluster)
    } else if cause.is::<DefaultsError>() {
        Some(ExitCode::Defaults)
    } else if cause.is::<PayloadError>() {
        Some(ExitCode::Internal)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_tells_the_code() {
        let busy = anyhow::Error::from(InstallError::Busy);
        assert_eq!(code_of(&busy.context("cannot install")), ExitCode::Busy);
        assert_eq!(code_of(&anyhow::anyhow!("odd")), ExitCode::Internal);
    }
}
