//! What one component was given, checked before the application starts.

use std::path::PathBuf;
use std::sync::Arc;

use skiff_engine::MemoryLimit;

use crate::{FileLimits, Output, Sockets, Variables};

/// A folder that a guest sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is for us.
    pub host: PathBuf,
    /// Where the guest sees it.
    pub guest: String,
    /// Whether the guest may write to it.
    pub writable: bool,
}

/// Everything a component may touch. What is not here it does not have.
#[derive(Debug, Clone)]
pub struct Grants {
    /// The component's id, for logs and errors.
    pub component: Arc<str>,
    /// Arguments; empty for HTTP.
    pub arguments: Vec<String>,
    /// The guest's environment: the manifest's, never ours.
    pub environment: Vec<(String, String)>,
    /// Folders.
    pub mounts: Vec<Mount>,
    /// Whether the kernel may keep those waiting who use these folders, as it may with
    /// volumes: then a thread does it that nobody else needs.
    pub waits: bool,
    /// How many files it may have open.
    pub files: FileLimits,
    /// Addresses it may connect to.
    pub sockets: Sockets,
    /// The component's variables.
    pub variables: Variables,
    /// Where its standard output goes.
    pub stdout: Output,
    /// Where its standard error goes.
    pub stderr: Output,
    /// Whether it reads our standard input; commands do.
    pub stdin: bool,
    /// How much memory it may take.
    pub memory: MemoryLimit,
}

impl Grants {
    /// Nothing but a name; what it prints goes nowhere.
    pub fn none(component: &str) -> Self {
        Grants {
            component: component.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            mounts: Vec::new(),
            waits: false,
            files: FileLimits::default(),
            sockets: Sockets::default(),
            variables: Variables::default(),
            stdout: Output::nowhere(),
            stderr: Output::nowhere(),
            stdin: false,
            memory: MemoryLimit::default(),
        }
    }
}
