//! The folders of cases: a new case is a new folder with a `values.yaml`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Values and their expected result.
#[derive(Debug, Clone)]
pub struct Case {
    /// The folder's name, which describes the case.
    pub name: String,
    /// The values, as a user would give them.
    pub values: PathBuf,
    /// The expected result.
    pub expected: PathBuf,
}

/// Values that render, with everything that they render to.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn rendered() -> io::Result<Vec<Case>> {
    read("cases", "expected.yaml")
}

/// Values that are refused, with the words that the reason must contain.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn rejected() -> io::Result<Vec<Case>> {
    read("cases-rejected", "expected.txt")
}

fn read(folder: &str, expected: &str) -> io::Result<Vec<Case>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        cases.push(Case {
            name: entry.file_name().to_string_lossy().into_owned(),
            values: entry.path().join("values.yaml"),
            expected: entry.path().join(expected),
        });
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(cases)
}
