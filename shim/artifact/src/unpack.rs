//! Unpacks an image into a directory.

mod archive;
mod contents;
mod error;
mod links;
mod rootfs;
mod spin;
mod wasm;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use skiff_manifest::{Application, ContentRef, lock};

use crate::beneath::Beneath;
use crate::meter::Budget;
use crate::scratch::Scratch;
use crate::{Blobs, Digest, Image, Kind, Limits};

pub use error::UnpackError;

/// The locked application, for images with one.
pub(crate) const APPLICATION_FILE: &str = "app.json";
/// The configuration of an ordinary image.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The files of an ordinary image.
pub(crate) const ROOTFS_FOLDER: &str = "rootfs";
const WASM_FOLDER: &str = "wasm";
/// The prefix of folders that are being unpacked into.
pub(crate) const UNFINISHED: &str = ".unpack-";
const ASSETS_FOLDER: &str = "assets";

/// A directory with an unpacked image.
///
/// | what | where |
/// | --- | --- |
/// | locked application, sources by digest | `app.json` |
/// | each WebAssembly binary, as it was shipped | `wasm/<64 hex digits>.wasm` |
/// | each component's files | `assets/<component id>/…` |
/// | an ordinary image instead | `config.json`, `rootfs/…` |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Its path.
    pub directory: PathBuf,
}

/// Unpacks an image into the directory `into`, which must not exist yet (or be empty).
///
/// The directory appears atomically and complete, or not at all: everything is written next
/// to it and then renamed. Only an ordinary image keeps its executable bits; owners, times
/// and attributes are never taken over.
///
/// # Errors
///
/// [`UnpackError`] names the affected layer, component or path. If another call was faster
/// it is [`UnpackError::Exists`], and the directory is that call's.
pub fn unpack(
    image: &Image,
    blobs: &dyn Blobs,
    into: &Path,
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    unpack_and(image, blobs, into, limits, |_| Ok(()))
}

/// The same, and calls `finish` with the complete folder before it is renamed.
pub(crate) fn unpack_and(
    image: &Image,
    blobs: &dyn Blobs,
    into: &Path,
    limits: &Limits,
    finish: impl FnOnce(&Beneath) -> io::Result<()>,
) -> Result<Unpacked, UnpackError> {
    let exists = || UnpackError::Exists {
        path: into.to_owned(),
    };
    let write = |source| UnpackError::Write {
        path: into.to_owned(),
        source,
    };
    let name = into
        .file_name()
        .ok_or_else(|| write(io::ErrorKind::InvalidInput.into()))?;
    if is_taken(into) {
        return Err(exists());
    }
    let parent = match into.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let beside = Scratch::with_mode(parent, UNFINISHED, 0o755).map_err(write)?;
    let unpacker = Unpacker {
        image,
        blobs,
        folder: beside.folder(),
        budget: Budget::new(*limits),
    };
    unpacker.run()?;
    finish(beside.folder()).map_err(write)?;
    beside.keep_as(name).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => exists(),
        _ => write(source),
    })?;
    Ok(Unpacked {
        directory: into.to_owned(),
    })
}

/// Whether something exists that a rename would not replace.
fn is_taken(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.symlink_metadata().is_ok(),
    }
}

/// The path of a WebAssembly binary in an unpacked directory.
pub(crate) fn wasm_path(directory: &Path, digest: &Digest) -> PathBuf {
    let name = format!("{}.wasm", digest.hex());
    directory.join(WASM_FOLDER).join(name)
}

/// The path of a component's files.
pub(crate) fn assets_path(directory: &Path, component: &str) -> PathBuf {
    directory.join(ASSETS_FOLDER).join(component)
}

/// One call of [`unpack`].
struct Unpacker<'a> {
    image: &'a Image,
    blobs: &'a dyn Blobs,
    /// The destination of everything, by paths relative to it.
    folder: &'a Beneath,
    budget: Budget,
}

impl Unpacker<'_> {
    fn run(&self) -> Result<(), UnpackError> {
        match &self.image.kind {
            Kind::Spin { locked } => {
                let bytes = self.read(locked, Limits::LOCKED, "a locked application")?;
                self.spin(&bytes)
            }
            Kind::SpinConfig => self.spin(&self.image.config),
            Kind::Component { layer } => {
                self.create_folders(Path::new(WASM_FOLDER))?;
                self.wasm_layer(layer)?;
                let source = ContentRef {
                    digest: Some(layer.digest.to_string()),
                    ..ContentRef::default()
                };
                let application =
                    Application::single_component(&layer.digest.hex(), &layer.name(), source);
                self.write(Path::new(APPLICATION_FILE), &lock::write(&application))
            }
            Kind::RootFs => self.root_file_system(),
        }
    }

    /// Writes a file from memory.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), UnpackError> {
        self.budget.file()?;
        self.budget.bytes(bytes.len() as u64)?;
        let written = self.folder.create_file(path, 0o644);
        written
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|source| self.cannot_write(path, source))
    }

    /// Creates a folder and its parents, and counts each: one long name can ask for
    /// thousands.
    fn create_folders(&self, path: &Path) -> Result<(), UnpackError> {
        let write = |source| self.cannot_write(path, source);
        let mut missing = Vec::new();
        for folder in path.ancestors() {
            // The parents of a missing folder may be missing as well.
            match self.folder.kind(folder) {
                Ok(None) => missing.push(folder),
                Ok(Some(found)) if is_folder(found.st_mode) => break,
                Ok(Some(_)) => return Err(write(io::ErrorKind::NotADirectory.into())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(folder),
                Err(error) => return Err(write(error)),
            }
        }
        for folder in missing.into_iter().rev() {
            self.budget.file()?;
            self.folder.create_folder(folder).map_err(write)?;
        }
        Ok(())
    }

    fn cannot_write(&self, path: &Path, source: io::Error) -> UnpackError {
        UnpackError::Write {
            path: self.folder.shown(path),
            source,
        }
    }
}

fn is_folder(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}
