//! Why an application does not run on a node.

use std::path::PathBuf;
use std::time::Duration;

use containerd_client::tonic::{Code, Status};

use super::HelloError;
use crate::host::HostError;

/// Why an application does not run on this node.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The hello is incomplete.
    #[error("the hello of the installer's image cannot be used")]
    Hello(#[from] HelloError),
    /// containerd does not listen.
    #[error("containerd does not listen at `{}`", socket.display())]
    Connect {
        /// Its socket on the node.
        socket: PathBuf,
        /// The error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// containerd, or the shim behind it, refuses.
    #[error("cannot {what}: {message}")]
    Refused {
        /// The attempted action.
        what: &'static str,
        /// containerd's error.
        message: String,
    },
    /// It does not end in time.
    #[error("the hello did not end within {} s", within.as_secs())]
    TooLate {
        /// The limit.
        within: Duration,
    },
    /// It failed.
    #[error("the hello ended with {status} instead of 0; it printed: {output}")]
    Status {
        /// Its exit status.
        status: u32,
        /// All that it printed.
        output: String,
    },
    /// It succeeded, but printed something else.
    #[error("the hello printed `{output}` instead of `{expected}`")]
    Output {
        /// Its output.
        output: String,
        /// The expected output.
        expected: String,
    },
    /// A file for its output cannot be used.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Part of it could not be removed.
    #[error("the hello ran, but its leftovers cannot be removed")]
    NotCleared(#[source] Box<CheckError>),
}

pub(super) fn refused(what: &'static str) -> impl Fn(Status) -> CheckError {
    move |status| CheckError::Refused {
        what,
        message: status.message().to_owned(),
    }
}

/// Nothing to remove counts as removed.
pub(super) fn gone<T>(what: &'static str, removed: Result<T, Status>) -> Result<(), CheckError> {
    match removed {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        removed => removed.map(drop).map_err(refused(what)),
    }
}
