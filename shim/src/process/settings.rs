//! Process settings that an operator may change: plain values.

use std::num::NonZeroU32;
use std::time::Duration;

use super::LogLevel;

/// As long as a slow cluster may take to redirect its connections. A pod that only
/// receives probes stops after two seconds.
pub const SHUTDOWN_DELAY_IN_POD: Duration = Duration::from_secs(10);

/// Kubernetes kills after 30 seconds; the rest of the shutdown needs a little of it.
const DEFAULT_DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// How a process serves, stops and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Workers that serve side by side; `None` means one for each core.
    pub workers: Option<NonZeroU32>,
    /// How long connections are still accepted after the stop signal; with `None` the
    /// server decides.
    pub shutdown_delay: Option<Duration>,
    /// How long requests may continue after the stop signal, including the shutdown
    /// delay.
    pub drain_limit: Duration,
    /// How much Skiff itself logs.
    pub log_level: LogLevel,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            workers: None,
            shutdown_delay: None,
            drain_limit: DEFAULT_DRAIN_LIMIT,
            log_level: LogLevel::Info,
        }
    }
}
