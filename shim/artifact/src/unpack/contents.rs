//! Content by digest, which components' files consist of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::archive::{EntryKind, Format, copy_with};
use super::{UnpackError, Unpacker};
use crate::Digest;
use crate::digest::Hasher;
use crate::oci::media;

/// Where content is kept until its final paths are created. Removed when unpacking ends.
const STAGING_FOLDER: &str = ".contents";

/// Requested content that was found: the file for each digest.
#[derive(Default)]
pub(super) struct Contents(BTreeMap<Digest, PathBuf>);

impl Contents {
    pub(super) fn get(&self, digest: &Digest) -> Option<&Path> {
        self.0.get(digest).map(PathBuf::as_path)
    }
}

impl Unpacker<'_> {
    /// Fetches `wanted`: first from layers of their own, then from archives.
    ///
    /// Content in neither of them is left out of the result.
    pub(super) fn contents(&self, wanted: BTreeSet<Digest>) -> Result<Contents, UnpackError> {
        let mut contents = Contents::default();
        let folder = Path::new(STAGING_FOLDER);
        self.create_folders(folder)?;
        let mut missing = wanted;
        for layer in &self.image.manifest.layers {
            let is_archive = layer.media_type == media::SPIN_ARCHIVE;
            if !is_archive && missing.remove(&layer.digest) {
                let path = folder.join(layer.digest.hex());
                self.budget.bytes(layer.size)?;
                self.write_blob(layer, &path, |_| {})?;
                contents.0.insert(layer.digest, path);
            }
        }
        for layer in &self.image.manifest.layers {
            if layer.media_type == media::SPIN_ARCHIVE && !missing.is_empty() {
                self.index_archive(layer, &mut missing, &mut contents)?;
            }
        }
        Ok(contents)
    }

    /// Creates further names of some content from `copy`, as its file cannot have more
    /// names.
    pub(super) fn renew_content(&self, content: &Path, copy: &Path) -> Result<(), UnpackError> {
        let next = content.with_extension("next");
        if self.folder.link(copy, &next).is_err() {
            // This file system has no hard links, so each one stays a copy.
            return Ok(());
        }
        let renamed = self.folder.rename(&next, content);
        renamed.map_err(|source| self.cannot_write(content, source))
    }

    /// Removes the staging names; files that were linked from them stay.
    pub(super) fn close_contents(&self) -> Result<(), UnpackError> {
        let folder = Path::new(STAGING_FOLDER);
        let removed = self.folder.remove(folder);
        removed.map_err(|source| self.cannot_write(folder, source))
    }

    /// Hashes every file of an archive and keeps those that are missing.
    fn index_archive(
        &self,
        layer: &crate::Descriptor,
        missing: &mut BTreeSet<Digest>,
        contents: &mut Contents,
    ) -> Result<(), UnpackError> {
        let format = Format { rooted: false };
        let folder = Path::new(STAGING_FOLDER);
        let temporary = folder.join("next");
        self.for_each_entry(layer, format, |entry, content| {
            if !matches!(entry.kind, EntryKind::File { .. }) {
                return Ok(());
            }
            let write = |source| self.cannot_write(&temporary, source);
            self.folder.remove(&temporary).map_err(write)?;
            let mut file = self.folder.create_file(&temporary, 0o644).map_err(write)?;
            let mut hasher = Hasher::default();
            let shown = self.folder.shown(&temporary);
            copy_with(content, &shown, &mut file, |bytes| hasher.update(bytes))?;
            let digest = hasher.finish();
            if missing.remove(&digest) {
                let path = folder.join(digest.hex());
                self.folder.rename(&temporary, &path).map_err(write)?;
                contents.0.insert(digest, path);
            }
            Ok(())
        })
    }
}
