//! Paths: sources in the checkout, everything built below its `target/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file or folder that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or write `{}`", path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// For `map_err`: an error at `path`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError {
        let path = path.to_owned();
        move |source| FileError { path, source }
    }
}

/// The folders of one checkout.
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The checkout in which this program was compiled; creates its working folders.
    pub(crate) fn of_this_checkout() -> Result<Paths, FileError> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.join("../..");
        Paths::at(&root.canonicalize().map_err(FileError::at(&root))?)
    }

    /// The checkout at `root`, which exists.
    pub(crate) fn at(root: &Path) -> Result<Paths, FileError> {
        let paths = Paths {
            root: root.to_owned(),
        };
        for made in [
            paths.work(""),
            paths.guests(),
            paths.root.join("target/images"),
        ] {
            fs::create_dir_all(&made).map_err(FileError::at(&made))?;
        }
        Ok(paths)
    }

    /// The sources of the sample `name`.
    pub(crate) fn sample(&self, name: &str) -> PathBuf {
        self.root.join("images").join(name)
    }

    /// The sources of this program.
    pub(crate) fn builder(&self) -> PathBuf {
        self.sample("builder").join("src")
    }

    /// The sources of the test guests.
    pub(crate) fn guest_sources(&self) -> PathBuf {
        self.root.join("tests/guests")
    }

    /// The folder of the built sample `name`.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.root.join("target/images").join(name)
    }

    /// The folder of the built guests.
    pub(crate) fn guests(&self) -> PathBuf {
        self.root.join("target/guests")
    }

    /// Cargo's target folder for guests and samples, separate from the shim's so that
    /// neither waits for the other's lock.
    pub(crate) fn cargo_target(&self) -> PathBuf {
        self.root.join("target/guests-build")
    }

    /// A folder for what is only needed while building.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.root.join("target/images-build").join(name)
    }
}
