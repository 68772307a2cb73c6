//! The files of the volume.

use std::fs::{self, OpenOptions};
use std::io::Write;

/// Where the pod mounts the volume.
const ENTRIES: &str = "/data/entries.txt";

/// What the sample `report` leaves beside the entries.
const REPORT: &str = "/data/report.txt";

/// All entries, a line each.
pub(crate) fn entries() -> Result<String, String> {
    fs::read_to_string(ENTRIES).map_err(|failed| told(ENTRIES, &failed))
}

/// Adds an entry. Line breaks inside it become spaces.
pub(crate) fn add(entry: &str) -> Result<(), String> {
    let line = entry.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    let book = OpenOptions::new().create(true).append(true).open(ENTRIES);
    // One write a line, so that replicas that share a volume do not mix theirs.
    book.and_then(|mut book| book.write_all(line.as_bytes()))
        .map_err(|failed| told(ENTRIES, &failed))
}

/// Removes all entries.
pub(crate) fn clear() -> Result<(), String> {
    fs::write(ENTRIES, "").map_err(|failed| told(ENTRIES, &failed))
}

/// What was reported last.
pub(crate) fn report() -> Result<String, String> {
    fs::read_to_string(REPORT).map_err(|failed| told(REPORT, &failed))
}

fn told(path: &str, failed: &std::io::Error) -> String {
    format!("{path}: {failed}")
}
