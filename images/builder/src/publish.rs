//! Puts results where others look for them, whole or not at all, and remembers what they were
//! made from.

use std::fs;
use std::path::{Path, PathBuf};

use crate::paths::{FileError, Paths};

/// How a job went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The inputs are the ones that the present result was made from.
    Unchanged,
    /// It was made; the text says what, for a person.
    Built(String),
}

/// The note of what the present result was made from.
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

    /// Forgets the present result, for when it is about to be replaced.
    pub(crate) fn lift(&self) -> Result<(), FileError> {
        remove(&self.path)
    }

    /// Notes that the result is there.
    pub(crate) fn set(&self) -> Result<(), FileError> {
        fs::write(&self.path, &self.digest).map_err(FileError::at(&self.path))
    }
}

/// Puts the finished folder `from` at `to`, in place of what is there.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<(), FileError> {
    remove(to)?;
    fs::rename(from, to).map_err(FileError::at(to))
}

/// Copies a file by way of a neighbour, so that no reader ever sees half of it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<u64, FileError> {
    let half = to.with_extension("half");
    let size = fs::copy(from, &half).map_err(FileError::at(from))?;
    fs::rename(&half, to).map_err(FileError::at(to))?;
    Ok(size)
}

/// Removes a file or a folder with all it holds, if there is one.
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
