//! Exit codes, as an operator sees them in a pod's status.

use std::error::Error;
use std::process::ExitCode as ProcessCode;

use serde::{Deserialize, Serialize};
use skiff_artifact::PrepareError;

/// How a Skiff process ended. The first seven follow `sysexits.h`, which distinguishes
/// them from the codes that `wasi:cli` guests conventionally use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum ExitCode {
    /// Stopped on request. Requests that did not finish within the drain timeout were cut
    /// off, which the log says.
    Success = 0,
    /// The command line of `skiff` was not understood.
    Usage = 64,
    /// The application cannot run: a broken artifact or manifest, an unsupported import,
    /// a variable without a value, code that does not compile.
    Application = 65,
    /// The listening address is taken or not allowed.
    Listen = 69,
    /// A fault of Skiff itself.
    Internal = skiff_task::exit::INTERNAL,
    /// A file of the node (state folder, code cache, volume) cannot be used, or the output
    /// of a command that ended well cannot be written.
    State = 74,
    /// A setting does not parse; the error names every wrong setting.
    Settings = 78,
    /// A container's executable exists but cannot be executed.
    NotExecutable = skiff_task::exit::NOT_EXECUTABLE,
    /// A component that is run to its end (`wasi:cli`) trapped.
    Trapped = 134,
    /// Killed or lost: containerd's convention for processes without an exit status.
    Killed = skiff_task::exit::KILLED,
    /// A second signal cut the drain short.
    Interrupted = 143,
}

impl ExitCode {
    /// The exit code as the parent process sees it.
    pub const fn number(self) -> i32 {
        self as i32
    }
}

impl From<ExitCode> for ProcessCode {
    fn from(code: ExitCode) -> Self {
        ProcessCode::from(code as u8)
    }
}

/// The longest error text in bytes. Longer texts do not help, and may be an attack.
const LONGEST: usize = 12 << 10;

/// A failure as text for its owner: lines without other control characters, even if an
/// artifact's names contain them, and of limited length.
pub fn told(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let end = text.floor_char_boundary(LONGEST);
    let mut told = in_lines(&text[..end]);
    if end < text.len() {
        told += &format!("\n… and {} bytes more", text.len() - end);
    }
    told
}

/// The text with all control characters except line breaks escaped.
pub fn in_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(skiff_manifest::escaped).collect();
    lines.join("\n")
}

/// The exit code for a failure, from its root cause.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    let mut causes = error.chain();
    causes
        .find_map(|cause| {
            if let Some(failed) = cause.downcast_ref::<crate::app::CompileFailed>() {
                Some(failed.kind)
            } else if cause.is::<crate::settings::SettingErrors>() {
                Some(ExitCode::Settings)
            } else if cause.is::<crate::cli::NoScratch>() {
                Some(ExitCode::State)
            } else if cause.is::<skiff_trigger_http::BindError>() {
                Some(ExitCode::Listen)
            } else if let Some(lost) = cause.downcast_ref::<crate::process::LostWorker>() {
                Some(match lost.signal {
                    // Killed by the kernel for its memory use, or by a person: reported
                    // as if there were one process.
                    Some(libc::SIGKILL) => ExitCode::Killed,
                    _ => ExitCode::Internal,
                })
            } else if let Some(error) = cause.downcast_ref() {
                match error {
                    skiff_engine::CacheError::Compile(_) => None,
                    _ => Some(ExitCode::State),
                }
            } else if let Some(PrepareError::Components(mistakes)) = cause.downcast_ref() {
                let mut faults = mistakes.faults.iter();
                faults.find_map(|fault| of_the_node(fault))
            } else {
                of_the_node(cause)
            }
        })
        .unwrap_or(ExitCode::Application)
}

/// The exit code if the error comes from the node: a file system that rejects every
/// write.
fn of_the_node(error: &(dyn Error + 'static)) -> Option<ExitCode> {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let mut cause = Some(error);
    while let Some(error) = cause {
        let error_of_system = error.downcast_ref::<std::io::Error>();
        if error_of_system.is_some_and(|error| {
            matches!(
                error.kind(),
                StorageFull | ReadOnlyFilesystem | QuotaExceeded
            )
        }) {
            return Some(ExitCode::State);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_without_control_characters_and_not_without_end() {
        let error = anyhow::anyhow!("one \x1b[2J\ntwo\r").context("all");
        assert_eq!(told(&error), "all: one \\u{1b}[2J\ntwo\\r");
        let long = told(&anyhow::anyhow!("é".repeat(1 << 20)));
        assert!(long.len() < LONGEST + 100 && long.ends_with("bytes more"));
    }

    #[test]
    fn a_full_disk_is_the_nodes_wherever_it_is_met() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let unpacked = skiff_artifact::UnpackError::Write {
            path: "/full".into(),
            source: full(),
        };
        let copied = skiff_artifact::PrepareError::Copy {
            from: "a".into(),
            to: "b".into(),
            source: full(),
        };
        let errors = [
            anyhow::Error::from(unpacked),
            anyhow::Error::from(copied),
            anyhow::Error::from(full()).context("cannot make a temporary folder"),
        ];
        for error in errors {
            assert_eq!(code_of(&error), ExitCode::State, "{error:#}");
        }
        let missing = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::NotFound));
        assert_eq!(code_of(&missing), ExitCode::Application);
    }

    #[test]
    fn numbers_are_those_that_operators_look_up() {
        assert_eq!(ExitCode::Success.number(), 0);
        assert_eq!(ExitCode::Settings.number(), 78);
        assert_eq!(ExitCode::Trapped.number(), 134);
    }
}
