//! The shim's log, which containerd reads from a pipe in the bundle and adds to its own.

use std::fs::{File, OpenOptions};
use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

/// The pipe's name in the bundle, which is the shim's working folder.
const PIPE: &str = "log";

/// Starts logging to containerd: warnings, or everything if containerd itself logs at
/// debug level.
pub(crate) fn start(debug: bool) {
    let opened = OpenOptions::new().write(true).open(PIPE);
    // If the log cannot be opened, there is nowhere to report it.
    let Ok(pipe) = opened else { return };
    let level = match debug {
        true => LevelFilter::Debug,
        false => LevelFilter::Warn,
    };
    if log::set_boxed_logger(Box::new(Pipe(pipe))).is_ok() {
        log::set_max_level(level);
    }
}

struct Pipe(File);

impl Log for Pipe {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // A single write, so that lines of several processes do not mix.
            let line = line(record);
            let _ = (&self.0).write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// A line in the format of containerd's own.
fn line(record: &Record<'_>) -> String {
    let level = match record.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "info",
        log::Level::Debug | log::Level::Trace => "debug",
    };
    let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
    let message = record.args().to_string();
    format!("time=\"{time}\" level={level} msg={message:?}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_on_its_line() {
        let record = Record::builder()
            .level(log::Level::Warn)
            .args(format_args!("two\nlines of \"text\""))
            .build();
        let text = super::line(&record);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains(r#"level=warning msg="two\nlines of \"text\"""#),
            "{text}"
        );
    }
}
