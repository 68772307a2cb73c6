//! The process that prepares: one question on stdin, one answer on stdout.

use std::io::{Read, Write};

use anyhow::Context;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};

use super::{Reply, Request, application};
use crate::exit::ExitCode;

/// Memory the process may write to. Compiling 12 MB of JavaScript takes some
/// 700 MB on two cores; a component that needs more than this would rather take
/// the node's other pods down.
const MAX_MEMORY: u64 = 4 << 30;

/// Below what serves requests, above what is done when nobody waits: somebody
/// does wait for this.
const NICE: i32 = 5;

/// Answers the question on stdin.
pub(in crate::task) fn main() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::Success,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::Internal
        }
    }
}

fn answer() -> anyhow::Result<()> {
    limit_resources()?;
    // Pods run as any user, and read what is made here.
    umask(Mode::WGRP | Mode::WOTH);
    let mut question = Vec::new();
    std::io::stdin()
        .read_to_end(&mut question)
        .context("cannot read the request")?;
    let request: Request = serde_json::from_slice(&question).context("cannot read the request")?;
    let reply = application::prepare(&request).unwrap_or_else(|error| Reply::Failed {
        message: format!("{error:#}"),
    });
    let answer = serde_json::to_vec(&reply).context("cannot write the answer")?;
    std::io::stdout()
        .write_all(&answer)
        .context("cannot write the answer")
}

fn limit_resources() -> anyhow::Result<()> {
    let limit = Rlimit {
        current: Some(MAX_MEMORY),
        maximum: Some(MAX_MEMORY),
    };
    setrlimit(Resource::Data, limit).context("cannot limit memory")?;
    rustix::process::nice(NICE).context("cannot lower the priority")?;
    Ok(())
}
