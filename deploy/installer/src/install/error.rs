//! Why an installation failed, and whether to retry it.

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

/// Why an installation failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Two at once would undo each other.
    #[error("another installer is at work on this node")]
    Busy,
    /// The node is not supported.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The configuration is not changed.
    #[error("containerd's configuration was not changed")]
    Target(#[from] TargetError),
    /// A file cannot be used.
    #[error("the node's files were not changed")]
    Host(#[from] HostError),
    /// The record of what is installed cannot be read.
    #[error("cannot determine what is installed")]
    State(#[from] StateError),
    /// The image is incomplete.
    #[error("the installer's image is incomplete")]
    Payload(#[from] PayloadError),
    /// The name of a link is taken.
    #[error(
        "`{}` is on the node and was not put there by this installer; take it away first",
        path.display()
    )]
    Foreign {
        /// The existing link or file.
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
    /// containerd did not come back as it should.
    #[error("the change was taken back, and containerd runs as before")]
    Restored(#[source] NotBack),
    /// Nor did it with the old configuration, or it was not restarted with that.
    #[error(
        "the change was taken back, and containerd did not come back with that either: {after}"
    )]
    Lost {
        /// The failure of the change.
        #[source]
        change: Box<NotBack>,
        /// The failure of taking it back.
        after: Box<NotBack>,
    },
    /// Nothing was changed, but containerd does not work.
    #[error("the configuration is as it should be, but containerd is not")]
    NotWell {
        /// The failure.
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
    /// It could not be restarted, or did not start.
    #[error("containerd was not restarted")]
    Restart(#[from] RestartError),
    /// It does not answer in time.
    #[error("containerd did not answer within {} s", within.as_secs_f32())]
    Silent {
        /// The limit.
        within: Duration,
        /// The result of the last query.
        source: CriError,
    },
    /// It answers, but does not know the handler.
    #[error("containerd does not offer the handler after {} s", within.as_secs_f32())]
    NoHandler {
        /// The limit.
        within: Duration,
    },
}

impl InstallError {
    /// Whether it may be transient, and nothing was restarted before it.
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
