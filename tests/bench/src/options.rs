//! The command line. Paths are relative to the repository's root, where `make bench` runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Compares Skiff with a native server and its peers, in one run, and prints ratios. It
/// never fails because of a figure: judging is up to the reader.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench")]
pub struct Options {
    /// Short rounds, for a first impression
    #[arg(long)]
    pub quick: bool,

    /// Run everything at the highest priority, for a machine that others use too; needs root
    #[arg(long)]
    pub ahead: bool,

    /// Repeat a round of load while others use the machine, up to a limit
    #[arg(long)]
    pub patient: bool,

    /// Only these disciplines; all when not given
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Discipline>,

    /// Only contenders whose key contains this text, and the native server
    #[arg(long, value_name = "TEXT")]
    pub matching: Option<String>,

    /// Skiff's binary, as released; the shim's name is expected beside it
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/x86_64-unknown-linux-gnu/release/skiff"
    )]
    pub skiff: PathBuf,

    /// Compare with another build of Skiff alone: its starts, memory and processor time
    #[arg(long, value_name = "PATH")]
    pub against: Option<PathBuf>,

    /// The native server's binary; built when not given
    #[arg(long, value_name = "PATH")]
    pub native: Option<PathBuf>,

    /// The wasmtime command; `--setup` puts it at the default place
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/tools/wasmtime/bin/wasmtime"
    )]
    pub wasmtime: PathBuf,

    /// The floor experiment's binary; left out when not given
    #[arg(long, value_name = "PATH")]
    pub floor: Option<PathBuf>,

    /// The folder of built samples, with `NAME/app.wasm` for each
    #[arg(long, value_name = "DIR", default_value = "target/images")]
    pub images: PathBuf,

    /// The file for the run as JSON
    #[arg(long, value_name = "FILE", default_value = "target/bench/last.json")]
    pub json: PathBuf,

    /// The file for the table as Markdown
    #[arg(long, value_name = "FILE", default_value = "target/bench/last.md")]
    pub markdown: PathBuf,

    /// A file in which the part between `<!-- bench -->` and `<!-- /bench -->` is
    /// replaced by the table
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,

    /// Build wasmtime's command, which the bench compares with, and exit
    #[arg(long)]
    pub setup: bool,
}

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Discipline {
    /// Requests a second over 32 connections
    Throughput,
    /// Mean latency over one connection
    Latency,
    /// Reads and writes of the default key-value store
    State,
    /// First compilation of the larger samples, with an empty cache
    Compile,
    /// From create to the first answer, under containerd
    Start,
    /// Memory of containers that are alike, under containerd
    Memory,
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Length of a round of load.
    pub round: Duration,
    /// Rounds of each contender.
    pub rounds: usize,
    /// Starts of each image.
    pub starts: usize,
    /// First starts and first compilations of each image; they take seconds each.
    pub first_starts: usize,
    /// Identical containers of the small samples.
    pub alike: usize,
    /// Identical containers of the large samples.
    pub large_alike: usize,
}

impl Options {
    /// Whether that part is selected.
    pub fn wants(&self, discipline: Discipline) -> bool {
        self.only.is_empty() || self.only.contains(&discipline)
    }

    /// The numbers behind `--quick` and its absence.
    pub fn plan(&self) -> Plan {
        let (seconds, rounds, first_starts) = if self.quick { (2, 3, 1) } else { (4, 5, 3) };
        Plan {
            round: Duration::from_secs(seconds),
            rounds,
            starts: 20,
            first_starts,
            alike: 20,
            large_alike: 10,
        }
    }
}

impl Plan {
    /// The plan in words for the report.
    pub fn words(&self) -> String {
        format!(
            "{} rounds of {} s, {} starts, {} first starts",
            self.rounds,
            self.round.as_secs(),
            self.starts,
            self.first_starts
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn no_choice_means_every_discipline() {
        let all = Options::parse_from(["bench"]);
        assert!(all.wants(Discipline::Memory) && all.wants(Discipline::Throughput));
        let one = Options::parse_from(["bench", "--only", "start,memory"]);
        assert!(one.wants(Discipline::Memory) && !one.wants(Discipline::Throughput));
    }
}
