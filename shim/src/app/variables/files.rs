//! A folder with one file a variable, as Kubernetes mounts a ConfigMap or a Secret.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use skiff_host::{Asking, ProviderError, VariablesProvider};
use skiff_manifest::VariableName;

use crate::app::configuration::text_of;

/// The most bytes of a value: as much as a whole ConfigMap or Secret may have.
const MOST_BYTES: u64 = 1 << 20;

/// Reads variables from a folder each time they are asked for, as the kubelet replaces its
/// files. Variable `db_pass` is in `db_pass`, or else in `DB_PASS`.
pub(super) struct Files(PathBuf);

/// A folder that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("cannot read variables from `{}`", folder.display())]
pub(super) struct NoFolder {
    folder: PathBuf,
    source: io::Error,
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Result<Self, NoFolder> {
        match std::fs::read_dir(&folder) {
            Ok(_) => Ok(Files(folder)),
            Err(source) => Err(NoFolder { folder, source }),
        }
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the folder `{}`", self.0.display())
    }
}

impl VariablesProvider for Files {
    fn ask<'a>(&'a self, name: &'a VariableName) -> Asking<'a> {
        let folder = self.0.clone();
        let name = name.to_string();
        Box::pin(async move {
            // A volume may be a network's, and take its time.
            let value = tokio::task::spawn_blocking(move || find(&folder, &name)).await;
            value.unwrap_or_else(|error| Err(ProviderError(error.to_string())))
        })
    }
}

fn find(folder: &Path, name: &str) -> Result<Option<String>, ProviderError> {
    for name in [name.to_owned(), name.to_ascii_uppercase()] {
        let file = folder.join(name);
        match read(&file) {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let file = file.display();
                return Err(ProviderError(format!("cannot read `{file}`: {error}")));
            }
        }
    }
    // Without its folder, every value would seem to be missing.
    match std::fs::metadata(folder) {
        Ok(_) => Ok(None),
        Err(error) => {
            let folder = folder.display();
            Err(ProviderError(format!("cannot read `{folder}`: {error}")))
        }
    }
}

/// The text of a file without the line break at its end.
///
/// # Errors
/// If it cannot be read, is not UTF-8, or has more than 1 MiB.
pub(super) fn read(file: &Path) -> io::Result<String> {
    let mut text = text_of(file, MOST_BYTES)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
