//! The machine and the versions of a run: without them, a ratio means little.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::options::Options;

/// The machine of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Memory in gigabytes.
    pub memory_gb: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution's name.
    pub system: String,
}

impl Machine {
    /// Reads it from the system. Missing values are `unknown`.
    pub fn here() -> Self {
        let processors = read("/proc/cpuinfo");
        let memory = read("/proc/meminfo");
        let release = read("/etc/os-release");
        let kilobytes: u64 = value(&memory, "MemTotal", ':')
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .unwrap_or_default();
        Self {
            processor: value(&processors, "model name", ':').unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_gb: kilobytes.div_ceil(1024 * 1024),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: value(&release, "PRETTY_NAME", '=')
                .map_or_else(unknown, |name| name.trim_matches('"').to_owned()),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The value in the first line that begins with `name`, after the separator.
fn value(text: &str, name: &str, separator: char) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(separator)?.1.trim().to_owned())
}

/// Gives this process the highest priority, and its session if the kernel schedules by
/// session. Every started process inherits it, so no contender is favoured; only
/// processes that create a session, as shims do, escape.
///
/// # Errors
/// Without permission.
pub fn go_ahead() -> io::Result<()> {
    const HIGHEST: i32 = -20;
    rustix::process::nice(HIGHEST)?;
    match fs::write("/proc/self/autogroup", HIGHEST.to_string()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Name and version of every installed participant.
pub fn versions(options: &Options) -> Vec<(String, String)> {
    let programs: [(&str, &Path, &str); 6] = [
        ("skiff", &options.skiff, "--version"),
        ("wasmtime", &options.wasmtime, "--version"),
        ("wrk", Path::new("wrk"), "-v"),
        ("runc", Path::new("runc"), "--version"),
        (
            "containerd-shim-spin",
            Path::new("containerd-shim-spin-v2"),
            "-v",
        ),
        (
            "containerd-shim-wasmtime",
            Path::new("containerd-shim-wasmtime-v1"),
            "-v",
        ),
    ];
    let known = programs
        .into_iter()
        .filter_map(|(name, program, flag)| Some((name.to_owned(), version(program, flag)?)));
    known.collect()
}

/// A program's version, reduced to the number if there is one; none if the program is
/// missing or prints nothing.
fn version(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    // Some print it to standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().next()?;
    Some(lines.find_map(number).unwrap_or_else(|| first.to_owned()))
}

/// The first word of a line that looks like a version number, without decoration.
fn number(line: &str) -> Option<String> {
    let words = line.split([' ', '/', ',']);
    let mut bare = words.map(|word| word.trim_start_matches('v'));
    let found =
        bare.find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(found.to_owned())
}

/// Today in UTC as `2026-01-31`.
pub fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    date(since.map_or(0, |time| time.as_secs() / 86_400))
}

/// The date this many days after 1970-01-01, in the proleptic Gregorian calendar.
fn date(days: u64) -> String {
    let mut left = days;
    let mut year = 1970;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let length = |year: u64| if leap(year) { 366 } else { 365 };
    while left >= length(year) {
        left -= length(year);
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= months[month] {
        left -= months[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_leap_years() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(19_782), "2024-02-29");
        assert_eq!(date(19_783), "2024-03-01");
        assert_eq!(date(20_819), "2027-01-01");
    }

    #[test]
    fn a_missing_program_has_no_version() {
        assert_eq!(
            version(Path::new("no-such-program-anywhere"), "--version"),
            None
        );
    }

    #[test]
    fn a_version_is_found_in_what_programs_say() {
        let cases = [
            (
                "wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012",
                "4.1.0-3+b2",
            ),
            (
                "containerd github.com/containerd/containerd v2.3.7 abc",
                "2.3.7",
            ),
            ("runc version 1.1.5+ds1", "1.1.5+ds1"),
            ("wasmtime 48.0.8 (e6b33de51 2026-08-21)", "48.0.8"),
        ];
        for (line, expected) in cases {
            assert_eq!(number(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_value_is_what_follows_its_name() {
        let text = "processor : 0\nmodel name\t: A: fast one\n";
        assert_eq!(
            value(text, "model name", ':').as_deref(),
            Some("A: fast one")
        );
    }
}
