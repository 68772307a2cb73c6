//! The suite against a real containerd: pods as kubelet runs them and tasks as `ctr` runs
//! them, with each containerd series.
//!
//! Every test program of this crate is [`run`] with a version. It builds missing tools,
//! moves into new namespaces, starts containerd, runs the cases of [`cases`] and then
//! looks for leftovers, which fail the run like a case.

pub mod apps;
pub mod cases;
pub mod harness;
pub mod node;
pub mod pods;

use std::process::ExitCode;

use anyhow::Context;
use skiff_test_support::containerd::{Settings, Version, last_lines};
use skiff_test_support::guard::{self, Run};

use crate::harness::{Options, Outcome};
use crate::node::Node;

/// Runs the suite with that version of containerd. Call it as the whole of `main`:
/// namespaces can only be changed before there are threads.
pub fn run(version: Version, native: &'static str) -> ExitCode {
    guard::run_if_asked();
    let options = Options::read(std::env::args().skip(1));
    if options.list {
        harness::list(&cases::all(), &options);
        return ExitCode::SUCCESS;
    }
    match within(version, native, &options) {
        Ok(outcome) if outcome.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the suite cannot run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn within(version: Version, native: &'static str, options: &Options) -> anyhow::Result<Outcome> {
    let settings = Settings::new(version)?.with_skiff();
    let run = if options.on_this_machine {
        Run::on_this_machine()
    } else {
        Run::isolated()
    };
    let run = run.context(
        "it starts a containerd; run it as root, or leave it out with --exclude skiff-suite",
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let node = Node::start(run, &settings, native).await?;
        let (node, mut outcome) = harness::run(cases::all(), options, node).await?;
        let log = node.containerd().log();
        let left = node.shut_down().await;
        outcome.leftovers(&left);
        if !outcome.is_good() && options.show_log {
            println!("the end of containerd's log:\n{}", last_lines(&log));
        }
        anyhow::Ok(outcome)
    })?;
    outcome.print();
    Ok(outcome)
}
