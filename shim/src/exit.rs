//! Exit codes: what an operator finds in a pod's status.

use std::process::ExitCode as ProcessCode;

/// How a process of ours ended. The first seven follow `sysexits.h`, so that
/// they are told apart from what a guest of `wasi:cli` exits with by convention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Told to stop, and stopped; requests that did not finish within the drain
    /// timeout were cut off, which the log says.
    Success = 0,
    /// The command line of `skiff` was not understood.
    Usage = 64,
    /// The application cannot run: a broken artifact or manifest, an import that
    /// nothing offers, a variable without a value, code that does not compile.
    Application = 65,
    /// The listening address is taken or not allowed.
    Listen = 69,
    /// A fault of Skiff itself.
    Internal = 70,
    /// A file of the node (state folder, code cache, volume) cannot be used.
    State = 74,
    /// A setting does not parse; every wrong one is named.
    Settings = 78,
    /// A container's executable is there and cannot be executed.
    NotExecutable = 126,
    /// A component that is run to its end (`wasi:cli`) trapped.
    Trapped = 134,
    /// Killed, or lost: containerd's convention for what has no status of its own.
    Killed = 137,
    /// A second signal cut the drain short.
    Interrupted = 143,
}

impl ExitCode {
    /// The number the parent sees.
    pub const fn number(self) -> i32 {
        self as i32
    }
}

impl From<ExitCode> for ProcessCode {
    fn from(code: ExitCode) -> Self {
        ProcessCode::from(code as u8)
    }
}

/// The code that tells a failure's kind, by what is at its root.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    let mut causes = error.chain();
    causes
        .find_map(|cause| {
            if cause.is::<crate::settings::SettingErrors>() {
                Some(ExitCode::Settings)
            } else if cause.is::<skiff_trigger::BindError>() {
                Some(ExitCode::Listen)
            } else if let Some(lost) = cause.downcast_ref::<crate::app::LostWorker>() {
                Some(match lost.signal {
                    // By the kernel for its memory, or by a person: it is told as if
                    // there were one process.
                    Some(libc::SIGKILL) => ExitCode::Killed,
                    _ => ExitCode::Internal,
                })
            } else {
                match cause.downcast_ref()? {
                    skiff_engine::CacheError::Compile(_) => None,
                    _ => Some(ExitCode::State),
                }
            }
        })
        .unwrap_or(ExitCode::Application)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_operators_look_up() {
        assert_eq!(ExitCode::Success.number(), 0);
        assert_eq!(ExitCode::Settings.number(), 78);
        assert_eq!(ExitCode::Trapped.number(), 134);
    }
}
