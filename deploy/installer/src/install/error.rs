//! Why an installation did not happen, and whether it may yet.

use std::path::PathBuf;
use std::time::Duration;

use crate::cri::CriError;
use crate::exit::ExitCode;
use crate::host::HostError;
use crate::layouts::LayoutError;
use crate::node::RestartError;
use crate::payload::PayloadError;
use crate::state::StateError;
use crate::target::TargetError;

/// Why a node is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Two at once would undo each other.
    #[error("another installer is at work on this node")]
    Busy,
    /// The node is not served.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The configuration is not changed.
    #[error("the configuration of containerd was left as it is")]
    Target(#[from] TargetError),
    /// A file cannot be used.
    #[error("the node's files were left as they are")]
    Host(#[from] HostError),
    /// What is installed cannot be told.
    #[error("it cannot be told what is installed")]
    State(#[from] StateError),
    /// The image is not whole.
    #[error("the installer's image is not whole")]
    Payload(#[from] PayloadError),
    /// The name of a link is taken.
    #[error(
        "`{}` is on the node and was not put there by this installer; take it away first",
        path.display()
    )]
    Foreign {
        /// What is there.
        path: PathBuf,
    },
    /// Another program has the same version.
    #[error(
        "version {version} is on the node with another program, and pods run on it; \
         a build that differs needs a version that differs"
    )]
    SameVersion {
        /// The version.
        version: String,
    },
    /// containerd was told, and does not answer as it should.
    #[error("the change was taken back, and containerd runs as before")]
    Restored(#[source] NotBack),
    /// Nor does it with what it had before, or it was not restarted with that.
    #[error(
        "the change was taken back, and containerd did not come back with that either: {after}"
    )]
    Lost {
        /// What came of the change.
        #[source]
        change: Box<NotBack>,
        /// What came of taking it back.
        after: Box<NotBack>,
    },
    /// Nothing was changed, but containerd is not well.
    #[error("the configuration is as it should be, but containerd is not")]
    NotWell {
        /// What is the matter.
        #[source]
        source: NotBack,
        /// Whether it was restarted.
        restarted: bool,
    },
    /// There is no version to go back to.
    #[error("no version was in use before {}", version.as_deref().unwrap_or("any on this node"))]
    NoPrevious {
        /// The version in use.
        version: Option<String>,
    },
}

/// How containerd failed to come back.
#[derive(Debug, thiserror::Error)]
pub enum NotBack {
    /// Nobody could restart it, or it did not start.
    #[error("containerd was not restarted")]
    Restart(#[from] RestartError),
    /// It does not answer in time.
    #[error("containerd did not answer within {} s", within.as_secs_f32())]
    Silent {
        /// The limit.
        within: Duration,
        /// What came of the last question.
        source: CriError,
    },
    /// It answers, and does not know the handler.
    #[error("containerd does not offer the handler after {} s", within.as_secs_f32())]
    NoHandler {
        /// The limit.
        within: Duration,
    },
}

impl InstallError {
    /// Whether it may go away without anybody's doing, and nothing was restarted
    /// on the way to it.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::NotWell {
                    restarted: false,
                    ..
                }
                | Self::Target(TargetError::NotRendered { .. })
        )
    }

    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Busy => ExitCode::Busy,
            Self::Foreign { .. } | Self::SameVersion { .. } | Self::State(_) | Self::Host(_) => {
                ExitCode::File
            }
            Self::Payload(_) => ExitCode::Internal,
            Self::Layout(_) => ExitCode::Unsupported,
            Self::Restored(_) | Self::Lost { .. } | Self::NotWell { .. } => ExitCode::Runtime,
            Self::NoPrevious { .. } => ExitCode::NoPrevious,
            Self::Target(error) => match error {
                TargetError::Layout(_) | TargetError::NotRendered { .. } => ExitCode::Unsupported,
                TargetError::Config(_) | TargetError::Dump(_) => ExitCode::Configuration,
                TargetError::Host(_) => ExitCode::File,
            },
        }
    }
}
