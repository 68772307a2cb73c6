//! Puts results atomically in their place, and records their inputs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::paths::{FileError, Paths};

/// The outcome of a job.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The present result was made from the same inputs.
    Unchanged,
    /// It was made; the text describes it for the user.
    Built(String),
}

/// The record of the present result's inputs.
pub(crate) struct Stamp {
    path: PathBuf,
    digest: String,
}

impl Stamp {
    /// The stamp of the result `name` for inputs of this digest.
    pub(crate) fn new(paths: &Paths, name: &str, digest: String) -> Stamp {
        Stamp {
            path: paths.work(&format!("{name}.stamp")),
            digest,
        }
    }

    /// Whether `result` exists and was made from these inputs.
    pub(crate) fn holds(&self, result: &Path) -> bool {
        result.exists() && fs::read_to_string(&self.path).is_ok_and(|text| text == self.digest)
    }

    /// Forgets the present result before it is replaced.
    pub(crate) fn lift(&self) -> Result<(), FileError> {
        remove(&self.path)
    }

    /// Records that the result exists.
    pub(crate) fn set(&self) -> Result<(), FileError> {
        fs::write(&self.path, &self.digest).map_err(FileError::at(&self.path))
    }
}

/// Moves the finished folder `from` to `to`, replacing what is there.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<(), FileError> {
    remove(to)?;
    fs::rename(from, to).map_err(FileError::at(to))
}

/// Copies a file through a temporary neighbour, so that it is never seen half-written.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<u64, FileError> {
    let half = to.with_extension("half");
    let size = fs::copy(from, &half).map_err(FileError::at(from))?;
    fs::rename(&half, to).map_err(FileError::at(to))?;
    Ok(size)
}

/// Removes a file, or a folder with its content, if it exists.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(failed) if failed.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::at(path)(failed))
        }
        _ => Ok(()),
    }
}
