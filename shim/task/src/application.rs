//! Between the shim and the processes that prepare and serve an application. What they
//! need of each other passes through unread; what the shim has to know has a field.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) mod handover;
mod plan;
pub(crate) mod prepare;
mod status;

pub use handover::Handed;
pub use plan::{Plan, Volume};
pub use status::Status;
pub(crate) use status::{READY, read_status};

/// What the process that prepares is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The container's id in containerd.
    pub container: String,
    /// containerd's namespace.
    pub namespace: String,
    /// containerd's socket.
    pub containerd: PathBuf,
    /// The container's root file system on the node.
    pub rootfs: PathBuf,
    /// The container's arguments.
    pub args: Vec<String>,
    /// Where the container's program starts.
    pub directory: PathBuf,
    /// The container's environment.
    pub environment: Vec<String>,
    /// What [`Program::settings`](crate::Program::settings) has read.
    pub settings: Value,
}

/// What the process that prepares answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// An application that can run.
    Ready(Ready),
    /// There is none: a Linux program is to run, if the container has one.
    Nothing {
        /// What was looked for.
        reason: String,
    },
    /// An application that cannot run.
    Failed {
        /// Why, with every cause.
        message: String,
    },
}

/// An application that can run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What the process that serves has to know, as [`Plan::application`].
    pub application: Value,
    /// What the process that serves gets open, in this order, as [`Handed::folders`].
    pub folders: Vec<Folder>,
    /// What [`Program::assist`](crate::Program::assist) is to be asked while the container
    /// runs.
    pub assist: Option<Value>,
}

/// A folder of the node that an application is served from. The process that serves can
/// read there and not write, whoever it runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Where it is on the node.
    pub path: PathBuf,
    /// Whether others remove it as soon as nobody has locked it (flock(2), shared). It is
    /// locked for as long as the container has it open.
    pub locked: bool,
}
