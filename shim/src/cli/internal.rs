//! Subcommands by which processes of Skiff start one another.

use std::io::Write as _;
use std::process::ExitCode as ProcessCode;

use clap::Subcommand;

use crate::app::{self, CompileRequest};
use crate::exit::ExitCode;

#[derive(Subcommand)]
pub(super) enum Internal {
    /// Prepare a container's application for the shim
    Prepare,
    /// Serve a container's application
    Serve,
    /// Compile, and answer on stdout
    Compile {
        /// The request
        request: String,
    },
    /// Compile with the optimising compiler, for later
    Optimize {
        /// The request
        request: String,
    },
}

impl Internal {
    pub(super) fn run(self) -> ProcessCode {
        match self {
            Internal::Prepare => crate::task::prepare_main(),
            Internal::Serve => crate::task::serve_main(),
            Internal::Compile { request } => with(&request, |request| {
                let reply = serde_json::to_vec(&app::answer(request))?;
                Ok(std::io::stdout().write_all(&reply)?)
            }),
            Internal::Optimize { request } => with(&request, app::optimize),
        }
    }
}

fn with(request: &str, act: impl Fn(&CompileRequest) -> anyhow::Result<()>) -> ProcessCode {
    let result = serde_json::from_str(request)
        .map_err(anyhow::Error::from)
        .and_then(|request| act(&request));
    match result {
        Ok(()) => ExitCode::Success.into(),
        Err(error) => {
            eprintln!("skiff: {error:#}");
            ExitCode::Internal.into()
        }
    }
}
