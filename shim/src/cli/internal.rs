//! Subcommands with which processes of Skiff start one another.

use std::io::{Read as _, Write as _};
use std::process::ExitCode as ProcessCode;

use anyhow::Context;
use clap::Subcommand;

use crate::app;
use crate::exit::ExitCode;

#[derive(Subcommand)]
pub(super) enum Internal {
    /// Prepare a container's application for the shim
    Prepare,
    /// Serve a container's application
    Serve,
    /// Compile the request on stdin, and answer on stdout
    Compile,
    /// Compile the request on stdin with the optimising compiler, for later
    Optimize,
}

impl Internal {
    pub(super) fn run(self) -> ProcessCode {
        match self {
            Internal::Prepare => crate::pod::prepare_main(),
            Internal::Serve => crate::pod::serve_main(),
            Internal::Compile => told(compile()),
            Internal::Optimize => told(app::optimize()),
        }
    }
}

fn compile() -> anyhow::Result<()> {
    let mut question = Vec::new();
    std::io::stdin()
        .read_to_end(&mut question)
        .context("cannot read the request")?;
    let request = serde_json::from_slice(&question).context("cannot read the request")?;
    let reply = serde_json::to_vec(&app::answer(&request))?;
    Ok(std::io::stdout().write_all(&reply)?)
}

fn told(result: anyhow::Result<()>) -> ProcessCode {
    match result {
        Ok(()) => ExitCode::Success.into(),
        Err(error) => {
            eprintln!("skiff: {}", crate::exit::told(&error));
            ExitCode::Internal.into()
        }
    }
}
