//! Applications from a container's root file system.

use std::path::{Path, PathBuf};

use skiff_manifest::{Application, Component, ContentRef, FileMount};

use super::{
    Mount, Mounted, Place, PrepareError, Prepared, Source, digest_file, local_path, prepare,
    read_manifest,
};
use crate::Digest;
use crate::paths::{in_root, relative};
use crate::prepared::folder::MANIFEST;
use crate::shown::shown;

impl Prepared {
    /// The application in a container's root file system.
    ///
    /// In this order: the manifest that the first word of `entrypoint` names (a path ending
    /// in `.toml`), `/spin.toml`, the WebAssembly file that the first word names (ending in
    /// `.wasm`; the whole of `entrypoint` is then its command line). A word that is not an
    /// absolute path is relative to `directory`, the working directory of the image's
    /// program. Paths and links stay inside `root`.
    ///
    /// Folders that components mount are used in place, so changes to them are visible to
    /// guests; single files, globs and `exclude_files` are refused.
    ///
    /// # Errors
    ///
    /// [`PrepareError::NothingToRun`] if none of the three exists, otherwise what is wrong
    /// with the one that does.
    pub fn from_rootfs(
        root: &Path,
        entrypoint: &[String],
        directory: &Path,
    ) -> Result<Self, PrepareError> {
        let first = entrypoint.first().map(String::as_str).unwrap_or_default();
        if first.ends_with(".toml") {
            return from_manifest(root, &directory.join(first));
        }
        let manifest = inside(root, Path::new(MANIFEST))?;
        // If it exists and is not a file, it is refused there, with its path.
        if manifest.exists() {
            return from_manifest(root, Path::new(MANIFEST));
        }
        if !first.ends_with(".wasm") {
            return Err(PrepareError::NothingToRun {
                entrypoint: match entrypoint {
                    [] => "is empty".to_owned(),
                    words => format!("`{}` names no `.wasm` file", shown(&words.join(" "))),
                },
            });
        }
        let stem = Path::new(first).file_stem().unwrap_or_default();
        let source = ContentRef {
            source: Some(first.to_owned()),
            ..ContentRef::default()
        };
        let application = Application::single_component(&stem.to_string_lossy(), first, source);
        let files = RootFs {
            root,
            folder: directory,
        };
        prepare(application, &files, Some(entrypoint.to_vec()))
    }
}

fn from_manifest(root: &Path, manifest: &Path) -> Result<Prepared, PrepareError> {
    let application = read_manifest(&inside(root, manifest)?)?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    prepare(application, &RootFs { root, folder }, None)
}

fn inside(root: &Path, path: &Path) -> Result<PathBuf, PrepareError> {
    in_root(root, path).map_err(|source| PrepareError::Read {
        path: root.join(path.strip_prefix("/").unwrap_or(path)),
        source,
    })
}

struct RootFs<'a> {
    root: &'a Path,
    /// The folder that the manifest's paths are relative to.
    folder: &'a Path,
}

impl Source for RootFs<'_> {
    fn wasm(
        &self,
        place: &Place<'_>,
        content: &ContentRef,
    ) -> Result<(PathBuf, Digest), PrepareError> {
        let path = self.folder.join(place.path(content)?);
        digest_file(place, inside(self.root, &path)?, content)
    }

    fn mounts(&self, component: &Component) -> Result<Mounted, Vec<PrepareError>> {
        let mut faults = Vec::new();
        if let Some(pattern) = component.exclude_files.first() {
            faults.push(refused(
                component,
                pattern,
                "is in `exclude_files`, which is not supported in an ordinary image",
            ));
        }
        let mut mounted = Mounted::default();
        for mount in &component.files {
            match self.mount(component, mount) {
                Ok(mount) => mounted.mounts.push(mount),
                Err(fault) => faults.push(fault),
            }
        }
        match faults.is_empty() {
            true => Ok(mounted),
            false => Err(faults),
        }
    }
}

impl RootFs<'_> {
    fn mount(&self, component: &Component, mount: &FileMount) -> Result<Mount, PrepareError> {
        let refuse = |mount: &str, reason| Err(refused(component, mount, reason));
        let (source, destination) = match mount {
            FileMount::Pattern(pattern) => (pattern, pattern),
            FileMount::Placed {
                source,
                destination,
            } => (source, destination),
            FileMount::Content { path, .. } => {
                return refuse(path, "is given by content, which only an artifact can have");
            }
        };
        // The manifest's own folder has the empty path, as in Spin.
        let path = match source.as_str() {
            "" => Some(Path::new("")),
            source => local_path(source),
        };
        let Some(path) = path else {
            return refuse(source, "is not a path");
        };
        let host = inside(self.root, &self.folder.join(path))?;
        if !host.is_dir() {
            return refuse(
                source,
                "is not a folder of the image: single files and globs cannot be mounted",
            );
        }
        let below = destination.trim_start_matches('/');
        let guest = if below.is_empty() {
            PathBuf::new()
        } else {
            match relative(Path::new(below)) {
                Ok(guest) => guest,
                Err(_) => return refuse(destination, "is not a path that a guest can have"),
            }
        };
        Ok(Mount {
            host,
            guest: format!("/{}", guest.display()),
        })
    }
}

fn refused(component: &Component, mount: &str, reason: &'static str) -> PrepareError {
    PrepareError::DirectMount {
        component: component.id.clone(),
        mount: mount.to_owned(),
        reason,
    }
}
