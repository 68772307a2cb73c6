//! `builder [NAME…]` is the program of `make images`. It builds every sample application
//! into `target/images/<name>/` (component, manifest and files, ready to run or push) and
//! every test guest into `target/guests/<guest>.wasm`. A name selects one sample, or with
//! `guests` all guests.
//!
//! A result of the same inputs is kept. Nothing is written beside the sources, and two
//! builders on one checkout take turns.

mod cargo;
mod foreign;
mod go;
mod guests;
mod inputs;
mod javascript;
mod paths;
mod process;
mod publish;
mod python;
mod samples;

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use crate::paths::Paths;
use crate::publish::Outcome;

/// A job: its name on the command line and its builder.
type Job = (
    &'static str,
    Box<dyn Fn(&Paths) -> Result<Outcome, BuildError> + Send + Sync>,
);

/// Why something could not be built. Each error names the file or the command; causes are
/// in `source`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(transparent)]
    Process(#[from] process::ProcessError),
    #[error(transparent)]
    File(#[from] paths::FileError),
    #[error("`{command}` ended well but left no `{missing}`; it said:\n{output}")]
    NoResult {
        command: String,
        missing: String,
        output: String,
    },
    #[error("cargo prints something that is not its JSON: `{line}`")]
    CargoMessage {
        line: String,
        source: serde_json::Error,
    },
    #[error("cannot read the text of `{}`", path.display())]
    Text { path: PathBuf, source: wat::Error },
    #[error("the guest `{0}` is built twice, under the same name")]
    TwoGuests(String),
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let lanes = lanes();
    let known: Vec<&str> = lanes.iter().flatten().map(|(name, _)| *name).collect();
    if let Some(stranger) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!(
            "there is no `{stranger}` to build, only {}",
            known.join(", ")
        );
        return ExitCode::from(2);
    }
    match build(&lanes, |name| {
        wanted.is_empty() || wanted.iter().any(|one| one == name)
    }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failed) => {
            report(&failed);
            ExitCode::FAILURE
        }
    }
}

/// The jobs in lanes that may run at once. Those of one lane would wait for each other anyway:
/// cargo locks its folder.
fn lanes() -> Vec<Vec<Job>> {
    let mut rust: Vec<Job> = vec![("guests", Box::new(guests::build))];
    let mut others: Vec<Job> = Vec::new();
    for sample in samples::ALL {
        let lane = if sample.language == samples::Language::Rust {
            &mut rust
        } else {
            &mut others
        };
        lane.push((sample.name, Box::new(|paths| samples::build(sample, paths))));
    }
    vec![rust, others]
}

/// Runs every selected job, reports each, and returns whether all succeeded.
fn build(lanes: &[Vec<Job>], wanted: impl Fn(&str) -> bool + Sync) -> Result<bool, BuildError> {
    let paths = Paths::of_this_checkout()?;
    let _turn = take_turn(&paths)?;
    let (paths, wanted) = (&paths, &wanted);
    Ok(thread::scope(|scope| {
        let running: Vec<_> = lanes
            .iter()
            .map(|lane| {
                scope.spawn(move || {
                    let asked = lane.iter().filter(|(name, _)| wanted(name));
                    // Each is tried, so that one run shows all failures.
                    asked.filter(|job| !run(job, paths)).count()
                })
            })
            .collect();
        running
            .into_iter()
            .all(|lane| lane.join().is_ok_and(|failed| failed == 0))
    }))
}

fn run((name, job): &Job, paths: &Paths) -> bool {
    let begun = Instant::now();
    match job(paths) {
        Ok(Outcome::Unchanged) => println!("{name}: unchanged"),
        Ok(Outcome::Built(what)) => {
            println!("{name}: {what} in {:.1} s", begun.elapsed().as_secs_f32());
        }
        Err(failed) => {
            eprintln!("{name}: not built");
            report(&failed);
            return false;
        }
    }
    true
}

/// Waits until no other builder works on this checkout; the lock ends with the process.
fn take_turn(paths: &Paths) -> Result<File, paths::FileError> {
    let path = paths.work("lock");
    let file = File::create(&path).map_err(paths::FileError::at(&path))?;
    file.lock().map_err(paths::FileError::at(&path))?;
    Ok(file)
}

fn report(failed: &dyn Error) {
    eprintln!("  {failed}");
    let mut cause = failed.source();
    while let Some(deeper) = cause {
        eprintln!("  because {deeper}");
        cause = deeper.source();
    }
}
