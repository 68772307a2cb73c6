//! A real Kubernetes in one program: it starts every part of a single-node cluster, tests
//! on it what users are promised, and leaves nothing behind. `cluster --kubeconfig FILE`
//! does so on an existing cluster.
//!
//! `cluster` runs all cases, `cluster --short` those of an everyday check, and
//! `cluster NAME…` those whose names contain one of the words.

mod addons;
mod addresses;
mod cases;
mod cluster;
mod control;
mod harness;
mod identity;
mod images;
mod inside;
mod install;
mod kubectl;
mod leftovers;
mod load;
mod manifests;
mod node;
mod operators;
mod options;
mod own;
mod places;
mod program;
mod registry;
mod space;
mod tools;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use skiff_test_support::guard::{self, Run};

use crate::cluster::Cluster;
use crate::inside::Role;
use crate::options::Options;
use crate::tools::Tools;

fn main() -> ExitCode {
    guard::run_if_asked();
    let (role, args) = Role::read();
    let done = match role {
        Role::Outside => outside(&args),
        Role::First(scope) => inside::first_process(&scope, &args),
        Role::Inside(scope) => {
            let options = Options::parse_from(args);
            let own = async |tools| Cluster::start(scope, tools, &options).await;
            proven(&options, own).map(code)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("the cluster cannot run: {error:#}");
        ExitCode::FAILURE
    })
}

fn code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prepares the machine, runs the node, and looks for leftovers.
fn outside(args: &[OsString]) -> anyhow::Result<ExitCode> {
    let options = Options::parse_from(args);
    if options.list {
        harness::list(&cases::all(), &options);
        return Ok(ExitCode::SUCCESS);
    }
    // Missing programs are built while there is still a network.
    Tools::find(&options)?;
    if let Some(kubeconfig) = &options.kubeconfig {
        let folder = tempfile::tempdir().context("no folder for the run")?;
        let there = async |tools| Cluster::join(kubeconfig, folder.path(), tools, &options).await;
        return proven(&options, there).map(code);
    }
    let run = Run::isolated().context("a cluster needs root")?;
    let traces = leftovers::Traces::of(&run);
    let good = inside::run(&run, args);
    drop(run);
    let left = traces.left();
    for trace in &left {
        println!("left behind on the machine: {trace}");
    }
    Ok(code(good? && left.is_empty()))
}

/// Runs the selected cases on that cluster, and returns whether all passed.
fn proven(
    options: &Options,
    cluster: impl AsyncFnOnce(Tools) -> anyhow::Result<Cluster>,
) -> anyhow::Result<bool> {
    let tools = Tools::find(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let cluster = cluster(tools).await?;
        let (cluster, mut outcome) = harness::run(cases::all(), options, cluster).await?;
        if options.pause {
            cluster.pause().await;
        }
        outcome.count_leftovers(&cluster.shut_down().await);
        anyhow::Ok(outcome)
    })?;
    outcome.print();
    Ok(outcome.is_good())
}
