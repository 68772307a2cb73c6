//! Ordinary images: layers of files on top of each other.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::archive::{Entry, EntryError, EntryKind, Format, copy};
use super::wasm::link_or_copy;
use super::{CONFIG_FILE, ROOTFS_FOLDER, UnpackError, Unpacker, create_folders};
use crate::Digest;
use crate::meter::Budget;
use crate::oci::ImageConfig;
use crate::paths::in_root;

/// What the name of a whiteout starts with; the rest is what it removes.
const WHITEOUT: &[u8] = b".wh.";
/// The whiteout of everything that lower layers have in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

impl Unpacker<'_> {
    /// Unpacks all layers and keeps the configuration beside them.
    pub(super) fn root_file_system(&self) -> Result<(), UnpackError> {
        let config = &self.image.config;
        serde_json::from_slice::<ImageConfig>(config).map_err(|source| UnpackError::Config {
            digest: self.image.manifest.config.digest,
            source,
        })?;
        self.write(CONFIG_FILE, config)?;
        let root = self.directory.join(ROOTFS_FOLDER);
        self.create_folder(&root)?;
        for layer in &self.image.manifest.layers {
            let gzip = is_gzip(&layer.media_type).ok_or_else(|| UnpackError::LayerKind {
                layer: layer.digest,
                media_type: layer.media_type.clone(),
            })?;
            let mut tree = Tree {
                root: &root,
                budget: &self.budget,
                layer: layer.digest,
                written: BTreeSet::new(),
            };
            let format = Format { gzip, rooted: true };
            self.for_each_entry(layer, format, |entry, content| tree.apply(entry, content))?;
        }
        Ok(())
    }
}

/// How a layer of files is packed; `None` for what is no such layer, or packed in a way
/// that nothing here can read (zstd).
fn is_gzip(media_type: &str) -> Option<bool> {
    if media_type.ends_with("tar+gzip") || media_type.ends_with("tar.gzip") {
        Some(true)
    } else if media_type.ends_with(".tar") {
        Some(false)
    } else {
        None
    }
}

/// The tree of files while one layer is put on it.
struct Tree<'a> {
    root: &'a Path,
    budget: &'a Budget,
    layer: Digest,
    /// What this layer wrote, with all folders above: whiteouts are about the layers
    /// below only, wherever in the archive they are.
    written: BTreeSet<PathBuf>,
}

impl Tree<'_> {
    fn apply(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), EntryError> {
        let Some(name) = entry.path.file_name() else {
            return Ok(());
        };
        let folder = self.folder_of(&entry.path)?;
        let path = folder.join(name);
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return Ok(self.whiteout(&folder, name, hidden)?);
        }
        let write = |source| UnpackError::Write {
            path: path.clone(),
            source,
        };
        match &entry.kind {
            EntryKind::Folder => make_folder(&path).map_err(write)?,
            EntryKind::File { executable } => {
                remove(&path).map_err(write)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(&path)
                    .map_err(write)?;
                copy(content, &path, &mut file)?;
            }
            EntryKind::Symlink { target } => {
                remove(&path).map_err(write)?;
                symlink(target, &path).map_err(write)?;
            }
            EntryKind::HardLink { target } => self.hard_link(entry, &path, target)?,
        }
        self.note(&path);
        Ok(())
    }

    /// The folder an entry goes into, made if need be, with no link on the way to it.
    fn folder_of(&mut self, path: &Path) -> Result<PathBuf, UnpackError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let write = |source| UnpackError::Write {
            path: self.root.join(parent),
            source,
        };
        let folder = in_root(self.root, parent).map_err(write)?;
        create_folders(&folder, self.budget)?;
        Ok(folder)
    }

    fn hard_link(&self, entry: &Entry, path: &Path, target: &Path) -> Result<(), UnpackError> {
        let dangling = || UnpackError::LinkTarget {
            layer: self.layer,
            path: entry.path.clone(),
            target: target.to_owned(),
        };
        // The target itself may be a link, which then gets a second name.
        let name = target.file_name().ok_or_else(dangling)?;
        let folder = in_root(self.root, target.parent().unwrap_or(Path::new("")));
        let target = folder.map_err(|_| dangling())?.join(name);
        let metadata = target.symlink_metadata().map_err(|_| dangling())?;
        if metadata.is_dir() {
            return Err(dangling());
        }
        if target == path {
            return Ok(());
        }
        remove(path)
            .and_then(|()| link_or_copy(&target, path))
            .map_err(|source| UnpackError::Write {
                path: path.to_owned(),
                source,
            })
    }

    fn whiteout(&self, folder: &Path, name: &OsStr, hidden: &[u8]) -> Result<(), UnpackError> {
        let removed = if name.as_bytes() == OPAQUE {
            self.remove_below(folder)
        } else if hidden.is_empty() || matches!(hidden, b"." | b"..") || hidden.contains(&b'/') {
            return Err(UnpackError::EntryPath {
                layer: self.layer,
                path: PathBuf::from(name),
                source: crate::PathError::Parent,
            });
        } else {
            self.remove_lower(&folder.join(OsStr::from_bytes(hidden)))
        };
        removed.map_err(|source| UnpackError::Write {
            path: folder.to_owned(),
            source,
        })
    }

    /// Removes what lower layers put at `path`.
    fn remove_lower(&self, path: &Path) -> io::Result<()> {
        if !self.written.contains(path) {
            return remove(path);
        }
        if path.symlink_metadata()?.is_dir() {
            self.remove_below(path)?;
        }
        Ok(())
    }

    /// Removes what lower layers put into `folder`.
    fn remove_below(&self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            self.remove_lower(&entry?.path())?;
        }
        Ok(())
    }

    fn note(&mut self, path: &Path) {
        for path in path.ancestors() {
            if path == self.root || !self.written.insert(path.to_owned()) {
                break;
            }
        }
    }
}

/// Makes a folder, in place of anything else but a folder.
fn make_folder(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => fs::remove_file(path).and_then(|()| fs::create_dir(path)),
        Err(_) => fs::create_dir(path),
    }
}

/// Removes whatever is at `path`, links themselves and not what they lead to.
fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
