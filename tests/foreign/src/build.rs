//! Builds guests: once for the same sources, tools and recipe, and atomically.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::process::{self, ProcessError};
use crate::workshop::{FileError, Workshop};

/// Why a toolchain built no guests. Each error names the file or the command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("no folder in `{}` contains `{file}`", manifest.display())]
    Missing { manifest: PathBuf, file: String },
}

/// All inputs of a result, as one digest.
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// An input of every result: this program, which contains the recipes.
    pub(crate) fn new() -> Inputs {
        let recipes = [
            include_str!("toolchains.rs"),
            include_str!("toolchains/candidates.rs"),
            include_str!("toolchains/native.rs"),
            include_str!("toolchains/javascript.rs"),
            include_str!("toolchains/python.rs"),
        ];
        recipes
            .iter()
            .fold(Inputs(Sha256::new()), |all, one| all.text(one))
    }

    /// A text, such as a tool's version.
    pub(crate) fn text(mut self, text: &str) -> Inputs {
        // Each piece is preceded by its length, so that pieces cannot be confused.
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
        self
    }

    /// The version that a program prints.
    pub(crate) fn version(self, command: &mut Command) -> Result<Inputs, BuildError> {
        Ok(self.text(&process::run(command)?))
    }

    /// Every file below `folder`, with its path.
    pub(crate) fn folder(mut self, folder: &Path) -> Result<Inputs, FileError> {
        let entries = fs::read_dir(folder).map_err(FileError::at(folder))?;
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_, _>>()
            .map_err(FileError::at(folder))?;
        paths.sort();
        for path in paths {
            self = self.text(&path.to_string_lossy());
            self = if path.is_dir() {
                self.folder(&path)?
            } else {
                let bytes = fs::read(&path).map_err(FileError::at(&path))?;
                self.text(&String::from_utf8_lossy(&bytes))
            };
        }
        Ok(self)
    }

    fn digest(self) -> String {
        let digest = self.0.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Lets `make` fill the folder `name` of the workshop, unless it did so from the same
/// inputs before, and returns the folder.
pub(crate) fn once(
    workshop: &Workshop,
    name: &str,
    inputs: Inputs,
    make: impl FnOnce(&Path) -> Result<(), BuildError>,
) -> Result<PathBuf, BuildError> {
    let folder = workshop.work(name);
    let stamp = workshop.work(&format!("{name}.stamp"));
    let digest = inputs.digest();
    if folder.is_dir() && fs::read_to_string(&stamp).is_ok_and(|noted| noted == digest) {
        return Ok(folder);
    }
    remove(&stamp)?;
    empty(&folder)?;
    make(&folder)?;
    fs::write(&stamp, digest).map_err(FileError::at(&stamp))?;
    Ok(folder)
}

/// Copies every file and folder of `from` into the folder `to`.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::create_dir_all(to).map_err(FileError::at(to))?;
    for entry in fs::read_dir(from).map_err(FileError::at(from))? {
        let path = entry.map_err(FileError::at(from))?.path();
        let there = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &there)?;
        } else {
            fs::copy(&path, &there).map_err(FileError::at(&path))?;
        }
    }
    Ok(())
}

/// Makes a folder, without what it had before.
pub(crate) fn empty(folder: &Path) -> Result<(), FileError> {
    remove(folder)?;
    fs::create_dir_all(folder).map_err(FileError::at(folder))
}

fn remove(path: &Path) -> Result<(), FileError> {
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
