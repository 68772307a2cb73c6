//! The process that prepares an application: one request on stdin, one answer on stdout.

use std::fs::File;
use std::io::{Read, Write};
use std::process::ExitCode as ProcessCode;

use anyhow::Context;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};
use rustix::stdio::dup2_stdout;
use serde::Deserialize;
use skiff_task::application::{Answer, Request};

use crate::app::slots::{Share, ends_first};
use crate::exit::ExitCode;
use crate::settings::NodeSettings;

mod application;
mod defaults;
mod image;
mod store;

/// All processes of this kind together may use half of the machine's memory.
const PART: u64 = 2;

/// How long tidying may take after the answer. Nothing waits for it.
const TIDY_SECONDS: u32 = 60;

/// Lower priority than serving requests, higher than background work: a pod's start waits
/// for it.
const NICE: i32 = 5;

/// Answers the request on stdin. Only the shim starts this.
pub fn main() -> ProcessCode {
    match answer() {
        Ok(()) => ExitCode::Success.into(),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::Internal.into()
        }
    }
}

fn answer() -> anyhow::Result<()> {
    let share = Share::of_this_machine(PART);
    limit_resources(&share)?;
    // Pods run as any user, and read the files made here.
    umask(Mode::WGRP | Mode::WOTH);
    let mut question = Vec::new();
    std::io::stdin()
        .read_to_end(&mut question)
        .context("cannot read the request")?;
    let request: Request = serde_json::from_slice(&question).context("cannot read the request")?;
    drop(question);
    let node = NodeSettings::deserialize(&request.settings).context("cannot read the request")?;
    let prepared = application::prepare(&request, &node, share.count);
    let answer = prepared.unwrap_or_else(|error| Answer::Failed {
        message: format!("{error:#}"),
    });
    let answer = serde_json::to_vec(&answer).context("cannot write the answer")?;
    let mut stdout = std::io::stdout();
    stdout
        .write_all(&answer)
        .and_then(|()| stdout.flush())
        .context("cannot write the answer")?;
    // Closing the output marks the end of the answer.
    let nowhere = File::open("/dev/null").context("cannot open `/dev/null`")?;
    dup2_stdout(&nowhere).context("cannot close the output")?;
    // SAFETY: no handler is involved; the default action ends the process.
    unsafe { libc::alarm(TIDY_SECONDS) };
    application::tidy(&node)
}

fn limit_resources(share: &Share) -> anyhow::Result<()> {
    let limit = Rlimit {
        current: Some(share.memory),
        maximum: Some(share.memory),
    };
    setrlimit(Resource::Data, limit).context("cannot limit memory")?;
    ends_first().context("cannot raise the out-of-memory score")?;
    rustix::process::nice(NICE).context("cannot lower the priority")?;
    Ok(())
}
