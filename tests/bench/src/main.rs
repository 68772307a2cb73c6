//! Runs the bench; see `bench --help`.

use anyhow::Context;
use clap::Parser;
use skiff_bench::options::{Discipline, Options};
use skiff_bench::report::{Report, promise_rows, remark_rows};
use skiff_bench::run::Run;
use skiff_bench::wrk::Wrk;
use skiff_bench::{
    against, compile, containers, contenders, load, machine, output, setup, state, wasmtime,
};
use skiff_test_support::guard;

fn main() -> anyhow::Result<()> {
    guard::run_if_asked();
    let options = Options::parse();
    if options.setup {
        return setup::wasmtime();
    }
    if let Some(base) = &options.against {
        let folder = tempfile::tempdir().context("cannot make a folder for temporary files")?;
        let wrk = Wrk::new(folder.path())?;
        let table = against::run(&options, base, &wrk, folder.path(), &Run::default())?;
        print!("{table}");
        return Ok(());
    }
    let native = match &options.native {
        Some(path) => path.clone(),
        None => setup::native()?,
    };
    if options.ahead {
        machine::go_ahead().context("--ahead needs root")?;
    }
    // Before any thread is started, because it moves this process into other namespaces.
    let ground = containers::prepare(&options);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("there is no runtime for containerd's API")?;
    let folder = tempfile::tempdir().context("cannot make a folder for temporary files")?;
    let scratch = folder.path();
    wasmtime::prepare(scratch).context("cannot configure wasmtime")?;
    let wrk = Wrk::new(scratch)?;
    let mut run = Run::default();
    run.remarks.extend(remarks(&options));
    let site = runtime.block_on(containers::open(
        &options, &native, ground, scratch, &mut run,
    ));

    let contained = site
        .as_ref()
        .map_or_else(Vec::new, containers::Site::contenders);
    let everybody = contenders::all(&options, &native, scratch, contained);
    load::run(&options, everybody, &wrk, scratch, &mut run);
    if options.wants(Discipline::State) {
        state::run(&options, &wrk, scratch, &mut run);
    }
    if options.wants(Discipline::Compile) {
        compile::run(&options, scratch, &mut run);
    }
    let mut versions = machine::versions(&options);
    if let Some(site) = site {
        versions.push(("containerd".to_owned(), site.version().to_owned()));
        runtime.block_on(site.measure(&options, &mut run));
        runtime.block_on(site.close(&mut run));
    }
    let report = Report {
        date: machine::today(),
        plan: options.plan().words(),
        machine: machine::Machine::here(),
        versions,
        remarks: run.final_remarks(),
        promises: promise_rows(&run.all),
        others: remark_rows(&run.others, &run.all),
        series: run.all,
    };
    output::write(&report, &options)
}

/// Remarks that already follow from the command line and the machine.
fn remarks(options: &Options) -> Vec<String> {
    let mut remarks = Vec::new();
    if !options.wasmtime.exists() {
        remarks.push("wasmtime serve is left out; `bench --setup` builds it".to_owned());
    }
    if options.ahead {
        let text = "run with --ahead, whose priority does not reach into containers";
        remarks.push(text.to_owned());
    }
    remarks
}
