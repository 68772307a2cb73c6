//! The command line of `skiff`.

mod inspect;
mod internal;
mod push;
mod run;
mod which;

use std::io::{self, Write as _};
use std::process::ExitCode as ProcessCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::exit::ExitCode;

pub(crate) use run::NoScratch;

#[derive(Parser)]
#[command(
    name = "skiff",
    disable_version_flag = true,
    about = "Runs WebAssembly applications"
)]
struct Arguments {
    /// Print version, revision and wasmtime version
    #[arg(long, short = 'V')]
    version: bool,
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve an application, or run a command component to its end
    Run(run::Run),
    /// Make an artifact from an application
    Push(push::Push),
    /// Show what an artifact holds
    Inspect(inspect::Inspect),
    /// Used between processes of Skiff
    #[command(hide = true)]
    Internal {
        #[command(subcommand)]
        command: internal::Internal,
    },
}

/// Runs what the command line asks for. Errors are printed only here.
pub fn main() -> ProcessCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Success
            };
            // If the terminal is gone, the error cannot be shown.
            error.print().ok();
            return code.into();
        }
    };
    let result = match arguments.command {
        _ if arguments.version => print(&crate::pod::version_text()).map(|()| 0),
        None => {
            use clap::CommandFactory as _;
            Arguments::command().print_help().ok();
            return ExitCode::Usage.into();
        }
        Some(Verb::Internal { command }) => return command.run(),
        Some(Verb::Run(run)) => run.run(),
        Some(Verb::Push(push)) => push.run().map(|()| 0),
        Some(Verb::Inspect(inspect)) => inspect.run().map(|()| 0),
    };
    match result {
        Ok(code) => ProcessCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            crate::process::output::tell_end(&crate::exit::told(&error));
            crate::exit::code_of(&error).into()
        }
    }
}

/// Prints warnings about valid input that may not mean what was intended.
fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("skiff: warning: {}", skiff_manifest::escaped(warning));
    }
}

/// Prints an answer. It is not a failure if the reader closes the pipe early, as `head`
/// does.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to the standard output")
        }
        _ => Ok(()),
    }
}
