//! Writing an OCI layout.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempDir;

use super::PackError;
use crate::digest::Hasher;
use crate::layout::{BLOBS_FOLDER, IMAGE_NAME, INDEX_FILE, LAYOUT_FILE, REF_NAME, blob_path};
use crate::oci::{SCHEMA_VERSION, media};
use crate::{Descriptor, Digest, Index};

/// The content of the file that marks a layout.
const LAYOUT_MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

const COPY_BUFFER: usize = 64 * 1024;

/// An OCI layout that is being written, next to its final path. [`Writer::finish`] moves it
/// there, complete; without it nothing appears.
pub struct Writer {
    folder: TempDir,
    target: PathBuf,
    blobs: Cell<u64>,
}

impl Writer {
    /// Begins a layout that will appear at `target`, which must not exist yet (or be
    /// empty).
    ///
    /// # Errors
    ///
    /// [`PackError::Exists`], and [`PackError::Write`] where the parent folder is not
    /// writable.
    pub fn beside(target: &Path) -> Result<Self, PackError> {
        if target.symlink_metadata().is_ok() {
            let empty = fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
            if !empty {
                return Err(PackError::Exists {
                    path: target.to_owned(),
                });
            }
        }
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let write = |source| PackError::Write {
            path: parent.to_owned(),
            source,
        };
        let folder = tempfile::Builder::new()
            .prefix(".layout-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(parent)
            .map_err(write)?;
        fs::create_dir_all(folder.path().join(BLOBS_FOLDER)).map_err(write)?;
        Ok(Self {
            folder,
            target: target.to_owned(),
            blobs: Cell::new(0),
        })
    }

    /// Adds a blob of bytes.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, PackError> {
        let mut blob = self.blob()?;
        blob.write_all(bytes)
            .map_err(|source| blob.failed(source))?;
        self.add(media_type, blob)
    }

    /// Adds a blob of JSON, compact and with members in the order of the type.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    ///
    /// # Panics
    ///
    /// If the type has members whose keys are not text.
    pub fn json(&self, media_type: &str, value: &impl Serialize) -> Result<Descriptor, PackError> {
        self.bytes(media_type, &json(value))
    }

    /// Adds a blob with the content of a file, which must match the expected one.
    pub(super) fn file(
        &self,
        media_type: &str,
        path: &Path,
        expected: Digest,
    ) -> Result<Descriptor, PackError> {
        let mut blob = self.blob()?;
        copy(path, &mut blob).map_err(|error| error.at(path, &blob.path))?;
        let descriptor = self.add(media_type, blob)?;
        if descriptor.digest != expected {
            return Err(PackError::Changed {
                path: path.to_owned(),
            });
        }
        Ok(descriptor)
    }

    /// Starts a blob that is written piece by piece.
    ///
    /// # Errors
    ///
    /// Where its file cannot be made.
    pub fn blob(&self) -> Result<Blob, PackError> {
        let number = self.blobs.get();
        self.blobs.set(number + 1);
        let path = self.folder.path().join(format!("{number}.part"));
        let file = File::create_new(&path).map_err(|source| PackError::Write {
            path: path.clone(),
            source,
        })?;
        Ok(Blob {
            path,
            file,
            hasher: Hasher::default(),
            size: 0,
        })
    }

    /// Names a finished blob by its digest.
    ///
    /// # Errors
    ///
    /// Where it cannot be renamed.
    pub fn add(&self, media_type: &str, blob: Blob) -> Result<Descriptor, PackError> {
        let digest = blob.hasher.finish();
        let path = blob_path(self.folder.path(), &digest);
        fs::rename(&blob.path, &path).map_err(|source| PackError::Write { path, source })?;
        Ok(Descriptor::new(media_type, digest, blob.size))
    }

    /// Makes `root`, a manifest or index added before, the layout's root and moves the
    /// layout to its final path. `reference` is a name for tools that import it.
    ///
    /// # Errors
    ///
    /// Where the index cannot be written, or something now exists at the final path.
    pub fn finish(mut self, root: &Descriptor, reference: Option<&str>) -> Result<(), PackError> {
        let mut named = root.clone();
        if let Some(reference) = reference {
            named.annotations = BTreeMap::from([
                (IMAGE_NAME.to_owned(), reference.to_owned()),
                (REF_NAME.to_owned(), tag(reference).to_owned()),
            ]);
        }
        let index = Index {
            schema_version: SCHEMA_VERSION,
            media_type: Some(media::INDEX.to_owned()),
            manifests: vec![named],
        };
        self.write(INDEX_FILE, &json(&index))?;
        self.write(LAYOUT_FILE, LAYOUT_MARK)?;
        let moved = fs::rename(self.folder.path(), &self.target);
        moved.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => PackError::Exists {
                path: self.target.clone(),
            },
            _ => PackError::Write {
                path: self.target.clone(),
                source,
            },
        })?;
        // Its temporary name, which would be cleaned up, no longer exists.
        self.folder.disable_cleanup(true);
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PackError> {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).map_err(|source| PackError::Write { path, source })
    }
}

/// A blob that is being written.
pub struct Blob {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Blob {
    pub(super) fn failed(&self, source: io::Error) -> PackError {
        PackError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

impl Write for Blob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A failed copy, attributed to the side that failed.
pub(super) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl CopyError {
    pub(super) fn at(self, from: &Path, to: &Path) -> PackError {
        match self {
            Self::Read(source) => PackError::Read {
                path: from.to_owned(),
                source,
            },
            Self::Write(source) => PackError::Write {
                path: to.to_owned(),
                source,
            },
        }
    }
}

fn copy(path: &Path, to: &mut impl Write) -> Result<(), CopyError> {
    let mut file = File::open(path).map_err(CopyError::Read)?;
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        match file.read(&mut buffer).map_err(CopyError::Read)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read]).map_err(CopyError::Write)?,
        }
    }
}

/// Compact JSON with members in the order of the types.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the types of this crate have text keys only")
}

/// The short name of the image inside the layout: its tag, if it has one.
fn tag(reference: &str) -> &str {
    let name_start = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference[name_start..].split_once(':') {
        Some((_, tag)) if !tag.is_empty() => tag,
        _ => reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_what_follows_the_name() {
        assert_eq!(tag("registry.example:5000/shop:1.2"), "1.2");
        assert_eq!(
            tag("registry.example:5000/shop"),
            "registry.example:5000/shop"
        );
        assert_eq!(tag("shop:latest"), "latest");
        assert_eq!(tag("shop:"), "shop:");
    }
}
