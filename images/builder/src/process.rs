//! Runs other programs: silently on success, with all of their output on failure.

use std::io;
use std::process::{Command, Output, Stdio};

/// A program that could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("cannot start `{command}`; is it installed?")]
    Start { command: String, source: io::Error },
    #[error("`{command}` ended with {status}; it said:\n{output}")]
    Failed {
        command: String,
        status: std::process::ExitStatus,
        output: String,
    },
}

/// The output of a successful program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    /// Both streams, to show why there is no result all the same.
    pub(crate) said: String,
}

/// Runs `command` to its end, without a terminal and without input.
pub(crate) fn run(command: &mut Command) -> Result<Ran, ProcessError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ProcessError::Start {
            command: shown(command),
            source,
        })?;
    if !output.status.success() {
        return Err(ProcessError::Failed {
            command: shown(command),
            status: output.status,
            output: said(&output),
        });
    }
    Ok(Ran {
        said: said(&output),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

/// The command as a user would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

fn said(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Cargo's machine-readable messages are on stdout; stderr already has them for
    // readers.
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if !line.starts_with('{') {
            text.push_str(line);
            text.push('\n');
        }
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
        assert!(text.contains("`sh -c echo sorry"), "{text}");
        assert!(
            text.contains("exit status: 3") && text.contains("\nsorry"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let failed = run(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(
            matches!(&failed, ProcessError::Start { command, .. } if command == "no-such-program-here")
        );
    }
}
