//! Content by digest: what the files of components are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;

use super::archive::{EntryKind, Format, copy_with};
use super::{UnpackError, Unpacker};
use crate::Digest;
use crate::digest::Hasher;
use crate::oci::media;

/// Where content is kept until it has its names. It is gone when unpacking ends.
const STAGING_FOLDER: &str = ".contents";

/// Content that was asked for and found.
pub(super) struct Contents {
    folder: PathBuf,
    found: BTreeMap<Digest, PathBuf>,
}

impl Contents {
    pub(super) fn get(&self, digest: &Digest) -> Option<&PathBuf> {
        self.found.get(digest)
    }

    /// Removes the staging names; files that were linked from them stay.
    pub(super) fn close(self) -> Result<(), UnpackError> {
        fs::remove_dir_all(&self.folder).map_err(|source| UnpackError::Write {
            path: self.folder,
            source,
        })
    }
}

impl Unpacker<'_> {
    /// Fetches `wanted`: from layers of their own, and what is left from archives.
    ///
    /// What is in neither is simply not found.
    pub(super) fn contents(&self, wanted: BTreeSet<Digest>) -> Result<Contents, UnpackError> {
        let mut contents = Contents {
            folder: self.directory.join(STAGING_FOLDER),
            found: BTreeMap::new(),
        };
        self.create_folder(&contents.folder)?;
        let mut missing = wanted;
        for layer in &self.image.manifest.layers {
            let is_archive = layer.media_type == media::SPIN_ARCHIVE;
            if !is_archive && missing.remove(&layer.digest) {
                let path = contents.folder.join(layer.digest.hex());
                self.budget.bytes(layer.size)?;
                self.write_blob(layer, &path, |_| {})?;
                contents.found.insert(layer.digest, path);
            }
        }
        for layer in &self.image.manifest.layers {
            if layer.media_type == media::SPIN_ARCHIVE && !missing.is_empty() {
                self.index_archive(layer, &mut missing, &mut contents)?;
            }
        }
        Ok(contents)
    }

    /// Hashes every file of an archive and keeps those that are missing.
    fn index_archive(
        &self,
        layer: &crate::Descriptor,
        missing: &mut BTreeSet<Digest>,
        contents: &mut Contents,
    ) -> Result<(), UnpackError> {
        let format = Format {
            gzip: true,
            rooted: false,
        };
        let temporary = contents.folder.join("next");
        self.for_each_entry(layer, format, |entry, content| {
            if !matches!(entry.kind, EntryKind::File { .. }) {
                return Ok(());
            }
            let write = |source| UnpackError::Write {
                path: temporary.clone(),
                source,
            };
            let mut file = File::create(&temporary).map_err(write)?;
            let mut hasher = Hasher::default();
            copy_with(content, &temporary, &mut file, |bytes| hasher.update(bytes))?;
            let digest = hasher.finish();
            if missing.remove(&digest) {
                let path = contents.folder.join(digest.hex());
                fs::rename(&temporary, &path).map_err(write)?;
                contents.found.insert(digest, path);
            }
            Ok(())
        })
    }
}
