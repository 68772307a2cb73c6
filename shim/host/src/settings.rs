//! What an operator may turn about guests: plain values.

use std::time::Duration;

use crate::{FileLimits, Guest, Reuse};

/// What guests may have, and how long they may live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that each linear memory of a guest may have; none leaves it to the pod's memory.
    pub memory: Option<usize>,
    /// Files that each guest may have open.
    pub files: usize,
    /// How instances serve more than one request.
    pub reuse: Reuse,
    /// How long a guest may go on whose client has left before it had its answer.
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
