//! Runs the programs that install and compile: silently on success, with all of their
//! output on failure.

use std::error::Error;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

/// A program that could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("cannot start `{command}`; is it installed?")]
    Start { command: String, source: io::Error },
    #[error("`{command}` ended with {status}; it said:\n{output}")]
    Failed {
        command: String,
        status: ExitStatus,
        output: String,
    },
}

/// Runs `command` to its end, without input, and returns its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String, ProcessError> {
    let ran = command.stdin(Stdio::null()).output();
    let ran = ran.map_err(|source| ProcessError::Start {
        command: shown(command),
        source,
    })?;
    let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
    if ran.status.success() {
        return Ok(stdout);
    }
    Err(ProcessError::Failed {
        command: shown(command),
        status: ran.status,
        output: format!("{}{stdout}", String::from_utf8_lossy(&ran.stderr)),
    })
}

/// The command as a user would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// An error with all its causes, for a reader.
pub(crate) fn chain(failed: &dyn Error) -> String {
    let mut text = failed.to_string();
    let mut cause = failed.source();
    while let Some(deeper) = cause {
        text.push_str(&format!("\nbecause {deeper}"));
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_shown_with_what_it_said() {
        let failed = run(Command::new("sh").args(["-c", "echo sorry >&2; exit 3"])).unwrap_err();
        let text = failed.to_string();
        assert!(
            text.contains("`sh -c echo sorry") && text.contains("\nsorry"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_program_is_named_with_its_cause() {
        let failed = run(&mut Command::new("no-such-program-here")).unwrap_err();
        let text = chain(&failed);
        assert!(
            text.contains("no-such-program-here") && text.contains("because"),
            "{text}"
        );
    }
}
