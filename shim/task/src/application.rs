//! What passes between the shim and the processes that prepare and serve an application.
//! Data that only those processes need passes through unread; what the shim needs has a
//! field.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) mod handover;
mod plan;
pub(crate) mod prepare;
pub(crate) mod running;
mod status;

pub use handover::Handed;
pub use plan::{Plan, Volume};
pub use running::{Running, of_pod};
pub use status::Status;
pub(crate) use status::{READY, read_status};

/// The request to the process that prepares an application.
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
    /// The working directory of the container's program.
    pub directory: PathBuf,
    /// The container's environment.
    pub environment: Vec<String>,
    /// Where the container has mounts. The process cannot see what is there.
    pub mounts: Vec<PathBuf>,
    /// The Kubernetes namespace of the container's pod, if it is in one.
    pub pod_namespace: Option<String>,
    /// The result of [`Program::settings`](crate::Program::settings).
    pub settings: Value,
}

/// The answer of the process that prepares an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// An application that can run.
    Ready(Ready),
    /// No application was found: the container is to run a Linux program, if it has one.
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
    /// What the process that serves needs to know, as [`Plan::application`].
    pub application: Value,
    /// The folders that the process that serves receives open, in this order, as
    /// [`Handed::folders`].
    pub folders: Vec<Folder>,
    /// An absolute path in the container's own files. A folder is made there for the
    /// container's user alone, unless something is there, or the files are read-only.
    pub own_folder: Option<PathBuf>,
    /// The request for [`Program::assist`](crate::Program::assist) while the container
    /// runs.
    pub assist: Option<Value>,
}

/// A folder of the node that an application is served from. The process that serves can
/// read but not write there, whichever user it runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Where it is on the node.
    pub path: PathBuf,
    /// Whether other processes may remove it once it is not locked (flock(2), shared). It
    /// stays locked for as long as the container has it open.
    pub locked: bool,
}
