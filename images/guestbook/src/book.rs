//! The files of the volume.

use std::fs::{self, OpenOptions};
use std::io::Write;

/// The pod's mount path of the volume.
const ENTRIES: &str = "/data/entries.txt";

/// The file that the sample `report` writes beside the entries.
const REPORT: &str = "/data/report.txt";

/// All entries, one per line.
pub(crate) fn entries() -> Result<String, String> {
    fs::read_to_string(ENTRIES).map_err(|failed| told(ENTRIES, &failed))
}

/// Adds an entry. Line breaks inside it become spaces.
pub(crate) fn add(entry: &str) -> Result<(), String> {
    let line = entry.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    let book = OpenOptions::new().create(true).append(true).open(ENTRIES);
    // One write per line, so that lines of replicas that share a volume do not mix.
    book.and_then(|mut book| book.write_all(line.as_bytes()))
        .map_err(|failed| told(ENTRIES, &failed))
}

/// Removes all entries.
pub(crate) fn clear() -> Result<(), String> {
    fs::write(ENTRIES, "").map_err(|failed| told(ENTRIES, &failed))
}

/// The last report.
pub(crate) fn report() -> Result<String, String> {
    fs::read_to_string(REPORT).map_err(|failed| told(REPORT, &failed))
}

fn told(path: &str, failed: &std::io::Error) -> String {
    format!("{path}: {failed}")
}
