//! Where things are: sources in the checkout, everything that is made below its `target/`.

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
    /// For `map_err`: what went wrong, went wrong at `path`.
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
    /// The checkout that this program was compiled in, with the folders it works in made.
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

    /// Where the sample `name` stands when it is built.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.root.join("target/images").join(name)
    }

    /// Where the guests stand when they are built.
    pub(crate) fn guests(&self) -> PathBuf {
        self.root.join("target/guests")
    }

    /// What cargo compiles for guests and samples, apart from the shim's own target folder so that
    /// neither waits for the other's lock.
    pub(crate) fn cargo_target(&self) -> PathBuf {
        self.root.join("target/guests-build")
    }

    /// A place for what is only needed while building.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.root.join("target/images-build").join(name)
    }
}
