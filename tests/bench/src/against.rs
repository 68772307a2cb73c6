//! Compares two builds of Skiff in pairs, to show what a change costs or gains.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::contenders::{SAMPLES, Sample};
use crate::load::CONNECTIONS;
use crate::options::Options;
use crate::run::Run;
use crate::series::Spread;
use crate::server::Server;
use crate::skiff;
use crate::wrk::Wrk;

/// Starts of each build; each takes milliseconds.
const STARTS: usize = 60;

/// How long a build may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(120);

/// The compared samples: small guests, which show changes in Skiff itself, and large
/// ones, whose instances cost most.
const COMPARED: [&str; 4] = ["hello-wasi", "hello-rust", "hello-js", "hello-python"];

/// One worker, so that the number of cores does not matter.
const WORKERS: (&str, &str) = ("SKIFF_WORKERS", "1");

/// Both builds, the base first.
struct Pair<'a> {
    options: [Options; 2],
    sample: &'a Sample,
    caches: [PathBuf; 2],
    log: PathBuf,
}

/// Figures of both builds, in pairs.
#[derive(Default)]
struct Figures(Vec<[f64; 2]>);

/// Measures `options.skiff` against `base` and returns a table. A ratio is the median of
/// the ratios of all pairs, with minimum and maximum; the base is 1.
///
/// # Errors
/// If one of them does not serve a sample.
pub fn run(
    options: &Options,
    base: &Path,
    wrk: &Wrk,
    scratch: &Path,
    run: &Run,
) -> anyhow::Result<String> {
    let mut table = String::from("| what | base | this build | times base |\n|---|---|---|---|\n");
    let samples = SAMPLES.iter();
    for sample in samples.filter(|sample| COMPARED.contains(&sample.name)) {
        let build = |name: &str, skiff: &Path| -> anyhow::Result<Options> {
            // How a file got into the page cache affects the memory of the process that
            // executes it.
            let copy = scratch.join(format!("skiff-{name}"));
            fs::copy(skiff, &copy).with_context(|| format!("cannot copy `{}`", skiff.display()))?;
            Ok(Options {
                skiff: copy,
                ..options.clone()
            })
        };
        let pair = Pair {
            options: [build("base", base)?, build("this", &options.skiff)?],
            sample,
            // Neither build finds code of the other.
            caches: ["base", "this"].map(|name| scratch.join(name)),
            log: scratch.join("against.log"),
        };
        run.progress(format!("{}, {STARTS} starts", sample.what));
        let starts = pair.starts()?;
        let rows = ["start to the first 200, ms"].map(str::to_owned);
        add(&mut table, sample, &rows, &[starts])?;
        let plan = options.plan();
        run.progress(format!("{}, {} rounds of load", sample.what, plan.rounds));
        let loads = pair.loads(wrk, plan.round, plan.rounds)?;
        let under = format!("under {CONNECTIONS} connections");
        let rows = [
            "memory, PSS in kB".to_owned(),
            "memory, private and written, in kB".to_owned(),
            format!("memory {under}, PSS in kB"),
            format!("memory {under}, private and written, in kB"),
            "processor time a request, µs".to_owned(),
            "minor faults a request".to_owned(),
        ];
        add(&mut table, sample, &rows, &loads)?;
    }
    Ok(table)
}

impl Pair<'_> {
    fn start(&self, which: usize) -> anyhow::Result<(Server, Duration)> {
        let (options, cache) = (&self.options[which], &self.caches[which]);
        let begin = Instant::now();
        let mut server = Server::start(&self.log, |address| {
            let line = skiff::run(options, self.sample, cache, address);
            vec![line.with(WORKERS.0, WORKERS.1)]
        })?;
        server.answered(PATIENCE)?;
        Ok((server, begin.elapsed()))
    }

    /// Each build goes first equally often.
    fn turns(round: usize) -> [usize; 2] {
        match round % 2 {
            0 => [0, 1],
            _ => [1, 0],
        }
    }

    /// Times of starts with cached code, in milliseconds.
    fn starts(&self) -> anyhow::Result<Figures> {
        for which in [0, 1] {
            let (server, _) = self.start(which)?;
            server.settle(PATIENCE);
        }
        // Code that is not yet written to the disk counts as memory.
        rustix::fs::sync();
        let mut figures = Figures::default();
        for round in 0..STARTS {
            let mut both = [0.0; 2];
            for which in Self::turns(round) {
                both[which] = self.start(which)?.1.as_secs_f64() * 1e3;
            }
            figures.0.push(both);
        }
        Ok(figures)
    }

    /// Memory before and under load, and processor time a request.
    fn loads(&self, wrk: &Wrk, time: Duration, rounds: usize) -> anyhow::Result<[Figures; 6]> {
        let mut all = [(); 6].map(|()| Figures::default());
        for round in 0..rounds {
            let mut both = [[0.0; 2]; 6];
            for which in Self::turns(round) {
                let (server, _) = self.start(which)?;
                server.settle(PATIENCE);
                let (before, used) = (server.memory(), server.used());
                let load = wrk.load(server.address, CONNECTIONS, time)?;
                let requests = load.requests_per_second * time.as_secs_f64();
                let cost = used.cost(server.used(), requests);
                let after = server.memory();
                both[0][which] = before.pss as f64;
                both[1][which] = before.private_dirty as f64;
                both[2][which] = after.pss as f64;
                both[3][which] = after.private_dirty as f64;
                both[4][which] = cost.time_us;
                both[5][which] = cost.faults;
            }
            for (figures, both) in all.iter_mut().zip(both) {
                figures.0.push(both);
            }
        }
        Ok(all)
    }
}

/// Adds a row for each kind of figure.
fn add(
    table: &mut String,
    sample: &Sample,
    rows: &[String],
    figures: &[Figures],
) -> anyhow::Result<()> {
    for (row, Figures(pairs)) in rows.iter().zip(figures) {
        let spread = |figure: fn(&[f64; 2]) -> f64| {
            let all: Vec<f64> = pairs.iter().map(figure).collect();
            Spread::of(&all).context("no pair was measured")
        };
        let (base, this) = (spread(|pair| pair[0])?, spread(|pair| pair[1])?);
        let ratio = spread(|pair| pair[1] / pair[0])?;
        writeln!(
            table,
            "| {}: {row} | {:.2} | {:.2} | {:.2} ({:.2}–{:.2}) |",
            sample.what, base.median, this.median, ratio.median, ratio.least, ratio.greatest
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_is_there() {
        for name in COMPARED {
            assert!(SAMPLES.iter().any(|sample| sample.name == name), "{name}");
        }
    }

    #[test]
    fn a_ratio_is_the_median_of_pairs() {
        let mut table = String::new();
        let figures = Figures(vec![[1.0, 2.0], [10.0, 10.0], [4.0, 2.0]]);
        add(&mut table, &SAMPLES[0], &["time".to_owned()], &[figures]).expect("it can be measured");
        assert_eq!(
            table,
            "| hello WASI 0.2: time | 4.00 | 2.00 | 1.00 (0.50–2.00) |\n"
        );
    }
}
