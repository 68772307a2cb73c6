//! Logs of our own: events with fields, on stderr, in between what guests print.

use skiff_host::Output;

use crate::settings::LogLevel;

/// Starts logging once; a second start changes nothing.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(Output::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init()
        .ok();
}
