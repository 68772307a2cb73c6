//! The test guests: every example of the workspace in `tests/guests`, those in Go
//! and Python, and the foreign ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::BuildError;
use crate::cargo;
use crate::foreign;
use crate::go;
use crate::paths::{FileError, Paths};
use crate::publish::{self, Outcome};
use crate::python;

/// The packages and their targets; `preview1` contains those that stay core modules.
const PACKAGES: [(&str, &[&str]); 2] = [
    (
        "wasm32-wasip2",
        &["--package", "guests", "--package", "p3", "--examples"],
    ),
    ("wasm32-wasip1", &["--package", "preview1", "--examples"]),
];

/// Builds all guests into `target/guests`, and removes those that no longer exist.
pub(crate) fn build(paths: &Paths) -> Result<Outcome, BuildError> {
    let sources = paths.guest_sources();
    let mut guests: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut all = foreign::build(paths)?;
    all.push(go::guest(paths)?);
    all.extend(python::guests(paths)?);
    for (target, packages) in PACKAGES {
        all.extend(cargo::build(paths, &sources, target, packages)?);
    }
    for made in all {
        let file_name = format!("{}.wasm", made.name);
        if guests.insert(file_name, made.file).is_some() {
            return Err(BuildError::TwoGuests(made.name));
        }
    }
    // Cargo decides what is fresh; only files that differ are replaced here.
    let mut changed = remove_others(paths, &guests)?;
    for (file_name, made) in &guests {
        let there = paths.guests().join(file_name);
        let fresh = fs::read(made).map_err(FileError::at(made))?;
        if !fs::read(&there).is_ok_and(|present| present == fresh) {
            publish::copy(made, &there)?;
            changed += 1;
        }
    }
    Ok(match changed {
        0 => Outcome::Unchanged,
        _ => Outcome::Built(format!(
            "{} guests, {changed} of them changed",
            guests.len()
        )),
    })
}

/// A guest whose source is gone must not keep passing tests.
fn remove_others(paths: &Paths, guests: &BTreeMap<String, PathBuf>) -> Result<usize, FileError> {
    let mut removed = 0;
    let folder = paths.guests();
    for entry in fs::read_dir(&folder).map_err(FileError::at(&folder))? {
        let path = entry.map_err(FileError::at(&folder))?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| !guests.contains_key(&name)) {
            publish::remove(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}
