//! What an operator may configure about guests, as plain values.

use std::time::Duration;

use crate::{FileLimits, Guest, Reuse};

/// Limits on guests' resources and lifetime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes for each linear memory of a guest; `None` leaves only the pod's limit.
    pub memory: Option<usize>,
    /// Files that each guest may have open.
    pub files: usize,
    /// How instances serve more than one request.
    pub reuse: Reuse,
    /// How long a guest may continue if its client left before the response.
    pub abandoned: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            memory: None,
            files: FileLimits::DEFAULT_EACH,
            reuse: Reuse::default(),
            abandoned: Guest::DEFAULT_ABANDONED,
        }
    }
}
