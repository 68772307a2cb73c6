//! Folders and files of stores on this machine.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_artifact::{Scratch, sweep};
use skiff_backend_sqlite::{File, Place, PlaceError};

/// Where a store that is kept in memory has its file: pods have the first, and machines at
/// least the second.
const MEMORY: [&str; 2] = ["/dev/shm", "/tmp"];

/// How the name of its folder begins.
const IN_MEMORY: &str = "skiff-store-";

/// Nothing can be kept in a folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlacesError {
    #[error("the folder `{}` cannot be made{CURE}", folder.display())]
    Make { folder: PathBuf, source: io::Error },
    #[error("the folder `{}` does not work{CURE}", folder.display())]
    Place { folder: PathBuf, source: PlaceError },
    #[error("there is no folder for its data; name one in SKIFF_STORE_DIR")]
    NoFolder,
    #[error("its `path` has to name a file, and `{}` is a folder", .0.display())]
    Folder(PathBuf),
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
    let is_folder = || PlacesError::Folder(path.to_owned());
    // The process may go to another folder later.
    let whole = std::path::absolute(path).map_err(|_| is_folder())?;
    let (Some(folder), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(is_folder());
    };
    if whole.is_dir() {
        return Err(is_folder());
    }
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

/// A folder that the kernel keeps in memory, so that all workers see the same. The process
/// that has made it removes it at its end. If it is killed, the next start that makes one does,
/// as soon as no worker has the folder's lock.
#[derive(Debug)]
pub(super) struct InMemory {
    folder: Option<Scratch>,
    maker: u32,
}

impl InMemory {
    pub(super) fn new() -> Result<Self, PlacesError> {
        let [first, second] = MEMORY.map(|parent| {
            let parent = Path::new(parent);
            // What cannot be removed now is for a later start.
            sweep(parent, &[IN_MEMORY]).ok();
            Scratch::new_in(parent, IN_MEMORY)
        });
        Ok(InMemory {
            folder: Some(first.or(second).map_err(PlacesError::NoMemory)?),
            maker: std::process::id(),
        })
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.folder.as_ref().map(Scratch::path).unwrap_or_default()
    }

    /// The file of a store, which keeps the folder.
    pub(super) fn file(self, wait: Duration) -> File {
        File::new(self.folder().join("store.db"), Place::Local, wait).holding(self)
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        // Workers are forked from the process that has made it, and may end before it.
        if self.maker != std::process::id() {
            std::mem::forget(self.folder.take());
        }
    }
}
