//! Ordinary images: layers of files on top of each other.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::archive::{Entry, EntryError, EntryKind, Format, copy};
use super::{CONFIG_FILE, ROOTFS_FOLDER, UnpackError, Unpacker, is_folder};
use crate::Digest;
use crate::oci::ImageConfig;
use crate::paths::{follow, leads_out};
use crate::shown::shown;

/// The prefix of a whiteout; the rest of its name is what it removes.
const WHITEOUT: &[u8] = b".wh.";
/// The whiteout for everything that lower layers have in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

impl Unpacker<'_> {
    /// Unpacks all layers and stores the configuration beside them.
    pub(super) fn root_file_system(&self) -> Result<(), UnpackError> {
        let config = &self.image.config;
        serde_json::from_slice::<ImageConfig>(config).map_err(|source| UnpackError::Config {
            digest: self.image.manifest.config.digest,
            source,
        })?;
        self.write(Path::new(CONFIG_FILE), config)?;
        self.create_folders(Path::new(ROOTFS_FOLDER))?;
        for layer in &self.image.manifest.layers {
            if !is_archive(&layer.media_type) {
                return Err(UnpackError::LayerKind {
                    layer: layer.digest,
                    media_type: shown(&layer.media_type),
                });
            }
            let mut tree = Tree {
                unpacker: self,
                layer: layer.digest,
                written: BTreeSet::new(),
            };
            let format = Format { rooted: true };
            self.for_each_entry(layer, format, |entry, content| tree.apply(entry, content))?;
        }
        Ok(())
    }
}

/// Whether a layer contains files. Its compression is detected by the first bytes, as in
/// containerd.
fn is_archive(media_type: &str) -> bool {
    let packed = ["+gzip", ".gzip", "+zstd", ".zstd"];
    let archive = packed
        .iter()
        .find_map(|suffix| media_type.strip_suffix(suffix));
    archive.unwrap_or(media_type).ends_with(".tar")
}

/// The tree of files while one layer is applied. Paths are the unpacker's, below
/// [`ROOTFS_FOLDER`].
struct Tree<'a> {
    unpacker: &'a Unpacker<'a>,
    layer: Digest,
    /// Everything this layer wrote, with all parent folders: whiteouts only affect the
    /// layers below, wherever they are in the archive.
    written: BTreeSet<PathBuf>,
}

impl Tree<'_> {
    fn apply(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), EntryError> {
        let Some(name) = entry.path.file_name() else {
            return Ok(());
        };
        let parent = entry.path.parent().unwrap_or(Path::new(""));
        let folder = self.resolve(parent);
        let folder = folder.map_err(|source| self.unpacker.cannot_write(parent, source))?;
        self.unpacker.create_folders(&folder)?;
        let path = folder.join(name);
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return Ok(self.whiteout(&folder, name, hidden)?);
        }
        let below = self.unpacker.folder;
        let write = |source| self.unpacker.cannot_write(&path, source);
        match &entry.kind {
            EntryKind::Folder => self.make_folder(&path).map_err(write)?,
            EntryKind::File { executable } => {
                below.remove(&path).map_err(write)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                let mut file = below.create_file(&path, mode).map_err(write)?;
                copy(content, &below.shown(&path), &mut file)?;
            }
            EntryKind::Symlink { target } => {
                below.remove(&path).map_err(write)?;
                below.symlink(target, &path).map_err(write)?;
            }
            EntryKind::HardLink { target } => self.hard_link(entry, &path, target)?,
        }
        self.note(&path);
        Ok(())
    }

    /// Resolves a path of the image to one without links. Even a wrong answer cannot lead
    /// outside: no later operation follows links.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let below = self.unpacker.folder;
        follow(Path::new(ROOTFS_FOLDER), path, |path| {
            match below.kind(path) {
                Ok(Some(found)) if is_symlink(found.st_mode) => below.read_link(path).map(Some),
                Ok(_) => Ok(None),
                // Its parent does not exist either.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn hard_link(&self, entry: &Entry, path: &Path, target: &Path) -> Result<(), UnpackError> {
        let dangling = || UnpackError::LinkTarget {
            layer: self.layer,
            path: entry.path.clone(),
            target: target.to_owned(),
        };
        // The target itself may be a link, which then gets a second name.
        let name = target.file_name().ok_or_else(dangling)?;
        let folder = self.resolve(target.parent().unwrap_or(Path::new("")));
        let target = folder.map_err(|_| dangling())?.join(name);
        let found = self.unpacker.folder.kind(&target);
        let found = found.ok().flatten().ok_or_else(dangling)?;
        if target == path {
            return Ok(());
        }
        // What is in the way is removed, but must not take the target with it.
        if is_folder(found.st_mode) || target.starts_with(path) {
            return Err(dangling());
        }
        let write = |source| self.unpacker.cannot_write(path, source);
        if is_symlink(found.st_mode) {
            // Where it leads depends on its own path.
            let leads = self.unpacker.folder.read_link(&target).map_err(write)?;
            let place = path.strip_prefix(ROOTFS_FOLDER).unwrap_or(path);
            if leads_out(place, &leads) {
                return Err(UnpackError::LinkOut {
                    layer: self.layer,
                    path: entry.path.clone(),
                    target: leads,
                });
            }
        }
        self.unpacker.folder.remove(path).map_err(write)?;
        self.unpacker.link_or_copy(&target, path).map(drop)
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
        removed.map_err(|source| self.unpacker.cannot_write(folder, source))
    }

    /// Removes what lower layers wrote at `path`.
    fn remove_lower(&self, path: &Path) -> io::Result<()> {
        if !self.written.contains(path) {
            return self.unpacker.folder.remove(path);
        }
        let found = self.unpacker.folder.kind(path)?;
        if found.is_some_and(|found| is_folder(found.st_mode)) {
            self.remove_below(path)?;
        }
        Ok(())
    }

    /// Removes what lower layers wrote into `folder`.
    fn remove_below(&self, folder: &Path) -> io::Result<()> {
        for name in self.unpacker.folder.names(folder)? {
            self.remove_lower(&folder.join(name))?;
        }
        Ok(())
    }

    /// Creates a folder, replacing anything that is not one.
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let below = self.unpacker.folder;
        match below.kind(path)? {
            Some(found) if is_folder(found.st_mode) => Ok(()),
            Some(_) => below.remove(path).and_then(|()| below.create_folder(path)),
            None => below.create_folder(path),
        }
    }

    fn note(&mut self, path: &Path) {
        for path in path.ancestors() {
            if path == Path::new(ROOTFS_FOLDER) || !self.written.insert(path.to_owned()) {
                break;
            }
        }
    }
}

fn is_symlink(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Symlink
}
