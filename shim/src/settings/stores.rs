//! What an operator may configure about the stores of an application.

use std::path::PathBuf;
use std::time::Duration;

/// A writer holds its lock for as long as a batch takes to reach the disk, and a server
/// answers in milliseconds. Where that takes seconds, it does not work, and neither does
/// waiting.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);

/// Where stores are, and how long they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The folder of the stores that exist without configuration; `None` is the one that
    /// the pod or `skiff run` has for them.
    pub folder: Option<PathBuf>,
    /// How long a lock that another process holds, or a server, is waited for.
    pub wait: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        StoreSettings {
            folder: None,
            wait: DEFAULT_WAIT,
        }
    }
}
