//! The folders of one checkout, and the compared programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::build::BuildError;
use crate::reference;
use crate::toolchains::{Guest, Toolchain};

/// A file or folder of the checkout that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or write `{}`", path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    source: std::io::Error,
}

impl FileError {
    /// For `map_err`: an error at `path`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
        let path = path.to_owned();
        move |source| FileError { path, source }
    }
}

/// The result of one build, or its error, for every case that needs it.
type Made<T> = Arc<OnceLock<Result<T, String>>>;

/// The sources, the results, and the builds of this run.
pub(crate) struct Workshop {
    root: PathBuf,
    skiff: PathBuf,
    wasmtime: Made<PathBuf>,
    toolchains: Mutex<Vec<(Toolchain, Made<PathBuf>)>>,
}

impl Workshop {
    /// The checkout in which this program was compiled; Skiff is the program beside it.
    pub(crate) fn of_this_checkout() -> Result<Arc<Workshop>, FileError> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().map_err(FileError::at(&root))?;
        let this = std::env::current_exe().map_err(FileError::at(&root))?;
        let skiff = this.with_file_name("skiff");
        skiff.metadata().map_err(FileError::at(&skiff))?;
        let workshop = Workshop {
            root,
            skiff,
            wasmtime: Made::default(),
            toolchains: Mutex::default(),
        };
        let work = workshop.work("");
        fs::create_dir_all(&work).map_err(FileError::at(&work))?;
        Ok(Arc::new(workshop))
    }

    /// A path of the checkout.
    pub(crate) fn root(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The sources that `toolchain` compiles.
    pub(crate) fn sources(&self, toolchain: &str) -> PathBuf {
        self.root.join("tests/foreign/guests").join(toolchain)
    }

    /// A folder for what is kept between runs.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.root.join("target/foreign").join(name)
    }

    /// The program under test.
    pub(crate) fn skiff(&self) -> &Path {
        &self.skiff
    }

    /// The reference program, built if this machine has none of its version.
    pub(crate) fn wasmtime(&self) -> Result<PathBuf, String> {
        let made = || reference::command(self).map_err(|failed| crate::process::chain(&failed));
        self.wasmtime.get_or_init(made).clone()
    }

    /// The file of a guest; the first request for one of a toolchain builds them.
    pub(crate) fn guest(&self, guest: Guest) -> Result<PathBuf, String> {
        let made = self.made_by(guest.toolchain);
        let built = || guest.toolchain.build(self).map_err(explained);
        let folder = made.get_or_init(built).clone()?;
        Ok(folder.join(format!("{}.wasm", guest.name)))
    }

    fn made_by(&self, toolchain: Toolchain) -> Made<PathBuf> {
        let mut all = self
            .toolchains
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, made)) = all.iter().find(|(known, _)| *known == toolchain) {
            return made.clone();
        }
        let made = Made::default();
        all.push((toolchain, made.clone()));
        made
    }
}

fn explained(failed: BuildError) -> String {
    crate::process::chain(&failed)
}
