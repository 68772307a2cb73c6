//! Applications from a directory that `unpack` created.

use std::path::{Path, PathBuf};

use skiff_manifest::{Component, ContentRef, lock};

use super::{Mount, Mounted, Place, PrepareError, Prepared, Source, prepare};
use crate::Digest;
use crate::oci::ImageConfig;
use crate::open::read_file;
use crate::unpack::{APPLICATION_FILE, CONFIG_FILE, ROOTFS_FOLDER, assets_path, wasm_path};

impl Prepared {
    /// The application in a directory that [`unpack`](crate::unpack()) created, of any
    /// kind.
    ///
    /// An ordinary image is treated as in [`Prepared::from_rootfs`], with the entrypoint,
    /// arguments and working directory of its configuration.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] if the directory was changed since, or an ordinary image contains
    /// nothing to run.
    pub fn from_unpacked(directory: &Path) -> Result<Self, PrepareError> {
        let path = directory.join(APPLICATION_FILE);
        let read = |path: &Path| {
            read_file(path).map_err(|source| PrepareError::Read {
                path: path.to_owned(),
                source,
            })
        };
        if path.is_file() {
            let application = lock::read(&read(&path)?, APPLICATION_FILE)
                .map_err(|source| PrepareError::Application { source })?;
            return prepare(application, &Directory(directory), None);
        }
        let root = directory.join(ROOTFS_FOLDER);
        if !root.is_dir() {
            return Err(PrepareError::NotUnpacked {
                path: directory.to_owned(),
            });
        }
        let config = directory.join(CONFIG_FILE);
        let config: ImageConfig =
            serde_json::from_slice(&read(&config)?).map_err(|error| PrepareError::Read {
                path: config.clone(),
                source: error.into(),
            })?;
        Self::from_rootfs(&root, &config.command(), Path::new(config.working_dir()))
    }
}

struct Directory<'a>(&'a Path);

impl Source for Directory<'_> {
    fn wasm(
        &self,
        place: &Place<'_>,
        content: &ContentRef,
    ) -> Result<(PathBuf, Digest), PrepareError> {
        let digest = match (&content.digest, &content.inline) {
            (Some(digest), _) => digest.parse().ok(),
            (None, Some(bytes)) => Some(Digest::of(bytes)),
            (None, None) => None,
        };
        // Unpacking has refused invalid digests, so this one was written later.
        let reference = content.digest.as_ref().or(content.source.as_ref());
        let digest: Digest =
            digest.ok_or_else(|| place.remote(reference.map_or("no content", String::as_str)))?;
        Ok((wasm_path(self.0, &digest), digest))
    }

    fn mounts(&self, component: &Component) -> Result<Mounted, Vec<PrepareError>> {
        if component.files.is_empty() {
            return Ok(Mounted::default());
        }
        let mount = Mount {
            host: assets_path(self.0, &component.id),
            guest: "/".to_owned(),
        };
        Ok(Mounted {
            mounts: vec![mount],
            warnings: Vec::new(),
        })
    }
}
