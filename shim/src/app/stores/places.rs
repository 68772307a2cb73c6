//! Folders and files of stores on this machine.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_backend_sqlite::{File, Place, PlaceError};

/// Where a store that is kept in memory has its file: pods have the first, and machines at
/// least the second.
const MEMORY: [&str; 2] = ["/dev/shm", "/tmp"];

/// Nothing can be kept in a folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlacesError {
    #[error("the folder `{}` cannot be made{CURE}", folder.display())]
    Make { folder: PathBuf, source: io::Error },
    #[error("the folder `{}` does not work{CURE}", folder.display())]
    Place { folder: PathBuf, source: PlaceError },
    #[error("there is no folder for its data; name one in SKIFF_STORE_DIR")]
    NoFolder,
    #[error("`{}` names no file", .0.display())]
    NoFile(PathBuf),
    #[error("it is to be kept in memory, and nothing can be written to `/dev/shm` or `/tmp`")]
    NoMemory(#[source] io::Error),
}

/// What an operator can do about a folder.
const CURE: &str = "; mount a volume that the container's user may write to, and name its folder in SKIFF_STORE_DIR or in the runtime configuration";

/// A file in the folder of the stores that exist without configuration, which is made if it
/// is missing.
pub(super) fn default_file(
    folder: Option<&Path>,
    name: &str,
    wait: Duration,
) -> Result<File, PlacesError> {
    let folder = folder.ok_or(PlacesError::NoFolder)?;
    file(&folder.join(name), wait)
}

/// A file, whose folder is made if it is missing.
pub(super) fn file(path: &Path, wait: Duration) -> Result<File, PlacesError> {
    let no_file = || PlacesError::NoFile(path.to_owned());
    // The process may go to another folder later.
    let whole = std::path::absolute(path).map_err(|_| no_file())?;
    let (Some(folder), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(no_file());
    };
    // Nobody else may read what an application keeps.
    let mut builder = DirBuilder::new();
    if let Err(source) = builder.recursive(true).mode(0o700).create(folder) {
        let folder = folder.to_owned();
        return Err(PlacesError::Make { folder, source });
    }
    match Place::of(folder) {
        Ok(place) => Ok(File::new(folder.join(name), place, wait)),
        Err(source) => {
            let folder = folder.to_owned();
            Err(PlacesError::Place { folder, source })
        }
    }
}

/// A folder that the kernel keeps in memory, so that all workers see the same, removed when
/// the process ends that has made it.
#[derive(Debug)]
pub(super) struct InMemory {
    pub(super) folder: PathBuf,
    maker: u32,
}

impl InMemory {
    pub(super) fn new() -> Result<Self, PlacesError> {
        let [first, second] = MEMORY.map(|parent| {
            let mut builder = tempfile::Builder::new();
            let private = Permissions::from_mode(0o700);
            let builder = builder.prefix("skiff-store-").permissions(private);
            builder.tempdir_in(parent)
        });
        Ok(InMemory {
            folder: first.or(second).map_err(PlacesError::NoMemory)?.keep(),
            maker: std::process::id(),
        })
    }

    /// The file of a store, which keeps the folder.
    pub(super) fn file(self, wait: Duration) -> File {
        File::new(self.folder.join("store.db"), Place::Local, wait).holding(self)
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        // Workers are forked from the process that has made it, and may end before it.
        if self.maker == std::process::id()
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "Cannot remove the folder of a store in memory");
        }
    }
}
