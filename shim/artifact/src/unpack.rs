//! An image put into a directory.

mod archive;
mod contents;
mod error;
mod rootfs;
mod spin;
mod wasm;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use skiff_manifest::{Application, ContentRef, lock};

use crate::meter::Budget;
use crate::{Blobs, Digest, Image, Kind, Limits};

pub use error::UnpackError;

/// The locked application, where the image is one.
pub(crate) const APPLICATION_FILE: &str = "app.json";
/// The configuration of an ordinary image.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The files of an ordinary image.
pub(crate) const ROOTFS_FOLDER: &str = "rootfs";
const WASM_FOLDER: &str = "wasm";
const ASSETS_FOLDER: &str = "assets";

/// A directory that holds an image.
///
/// | what | where |
/// | --- | --- |
/// | locked application, sources by digest | `app.json` |
/// | each WebAssembly binary, as it was shipped | `wasm/<64 hex digits>.wasm` |
/// | each component's files | `assets/<component id>/…` |
/// | an ordinary image instead | `config.json`, `rootfs/…` |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The directory.
    pub directory: PathBuf,
}

/// Puts an image into the directory `into`, which must not exist yet (or be empty).
///
/// The directory appears at once and complete, or not at all: everything is written
/// beside it and renamed. Nothing is made executable but what an ordinary image has,
/// and no owner, no time and no attribute is taken over.
///
/// # Errors
///
/// [`UnpackError`] names the layer, component or path at fault. Where another call was
/// first it is [`UnpackError::Exists`], and the directory is that call's.
pub fn unpack(
    image: &Image,
    blobs: &dyn Blobs,
    into: &Path,
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    if is_taken(into) {
        return Err(UnpackError::Exists {
            path: into.to_owned(),
        });
    }
    let parent = match into.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut beside = tempfile::Builder::new()
        .prefix(".unpack-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .map_err(|source| UnpackError::Write {
            path: parent.to_owned(),
            source,
        })?;
    let unpacker = Unpacker {
        image,
        blobs,
        directory: beside.path(),
        budget: Budget::new(*limits),
    };
    unpacker.run()?;
    fs::rename(beside.path(), into).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => UnpackError::Exists {
            path: into.to_owned(),
        },
        _ => UnpackError::Write {
            path: into.to_owned(),
            source,
        },
    })?;
    // It is not there any more under the name that would be cleaned up.
    beside.disable_cleanup(true);
    Ok(Unpacked {
        directory: into.to_owned(),
    })
}

/// Whether something is there that a rename would not replace.
fn is_taken(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.symlink_metadata().is_ok(),
    }
}

/// Where a WebAssembly binary is in an unpacked directory.
pub(crate) fn wasm_path(directory: &Path, digest: &Digest) -> PathBuf {
    let name = format!("{}.wasm", digest.hex());
    directory.join(WASM_FOLDER).join(name)
}

/// Where a component's files are.
pub(crate) fn assets_path(directory: &Path, component: &str) -> PathBuf {
    directory.join(ASSETS_FOLDER).join(component)
}

/// One call of [`unpack`].
struct Unpacker<'a> {
    image: &'a Image,
    blobs: &'a dyn Blobs,
    directory: &'a Path,
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
                self.create_folder(&self.directory.join(WASM_FOLDER))?;
                self.wasm_layer(layer)?;
                let source = ContentRef {
                    digest: Some(layer.digest.to_string()),
                    ..ContentRef::default()
                };
                let application =
                    Application::single_component(&layer.digest.hex(), &layer.name(), source);
                self.write(APPLICATION_FILE, &lock::write(&application))
            }
            Kind::RootFs => self.root_file_system(),
        }
    }

    /// Writes a file of our own naming.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), UnpackError> {
        let path = self.directory.join(name);
        fs::write(&path, bytes).map_err(|source| UnpackError::Write { path, source })
    }

    fn create_folder(&self, path: &Path) -> Result<(), UnpackError> {
        create_folders(path, &self.budget)
    }
}

/// Makes a folder and those above it, and counts each: one long name can ask for
/// thousands.
fn create_folders(path: &Path, budget: &Budget) -> Result<(), UnpackError> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    for folder in missing.into_iter().rev() {
        budget.file()?;
        fs::create_dir(folder).map_err(|source| UnpackError::Write {
            path: folder.to_owned(),
            source,
        })?;
    }
    Ok(())
}
