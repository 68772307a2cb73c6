//! First compilation: how long an unknown component takes until it answers, and until its
//! optimised code is ready.

use std::path::Path;
use std::time::Duration;

use crate::contenders::{SAMPLES, Sample};
use crate::options::Options;
use crate::promises::Unit;
use crate::report::Remark;
use crate::run::Run;
use crate::server::{Server, ServerError};
use crate::{scratch, skiff, wasmtime};

/// The largest sample takes some ten seconds on two cores.
const PATIENCE: Duration = Duration::from_secs(180);

/// Measures the large samples under Skiff and `wasmtime serve` in turns.
pub fn run(options: &Options, folder: &Path, run: &mut Run) {
    let large = |sample: &&Sample| matches!(sample.name, "hello-js" | "hello-python");
    for sample in SAMPLES.iter().filter(large) {
        for round in 1..=options.plan().first_starts {
            run.progress(format!("first compilation of {}, {round}", sample.name));
            ours(options, sample, folder, run);
            peer(options, sample, folder, run);
        }
        let rows = [
            ("compile/skiff", "skiff run, until it answers"),
            (
                "compile-all/skiff",
                "skiff run, until its best code is there",
            ),
            ("compile/wasmtime", "wasmtime serve, until it answers"),
        ];
        for (key, what) in rows {
            run.others.push(Remark {
                key: format!("{key}/{}", sample.name),
                base: None,
                what: format!("first compilation, {}, {what}", sample.what),
                unit: Unit::Seconds,
            });
        }
    }
}

/// Both figures, starting with an empty state folder.
fn ours(options: &Options, sample: &Sample, folder: &Path, run: &mut Run) {
    let state = folder.join("first-state");
    let first = format!("compile/skiff/{}", sample.name);
    let best = format!("compile-all/skiff/{}", sample.name);
    let measured = scratch::empty(&state)
        .map_err(ServerError::Prepare)
        .and_then(|()| {
            let mut server = Server::start(&folder.join("first.log"), |address| {
                vec![skiff::run(options, sample, &state, address)]
            })?;
            let answered = server.answered(PATIENCE)?;
            Ok((answered, answered + server.settle(PATIENCE)))
        });
    match measured {
        Ok((answered, settled)) => {
            run.all.push(first, answered.as_secs_f64());
            run.all.push(best, settled.as_secs_f64());
        }
        Err(error) => {
            run.all.absent(first, error.to_string());
            run.all.absent(best, error.to_string());
        }
    }
}

/// Without a cache it compiles at every start, only with its optimising compiler.
fn peer(options: &Options, sample: &Sample, folder: &Path, run: &mut Run) {
    let key = format!("compile/wasmtime/{}", sample.name);
    let started = Server::start(&folder.join("first.log"), |address| {
        vec![wasmtime::serve(options, sample, &["-Ccache=n"], address)]
    });
    match started.and_then(|mut server| server.answered(PATIENCE)) {
        Ok(time) => run.all.push(key, time.as_secs_f64()),
        Err(error) => run.all.absent(key, error.to_string()),
    }
}
