//! From a container's root file system.

use std::path::{Path, PathBuf};

use skiff_manifest::{Application, Component, ContentRef, FileMount};

use super::{
    Mount, Place, PrepareError, Prepared, Source, digest_file, local_path, prepare, read_manifest,
};
use crate::Digest;
use crate::paths::{in_root, relative};
use crate::prepared::folder::MANIFEST;

impl Prepared {
    /// The application in a container's root file system.
    ///
    /// In this order: the manifest that the first word of `entrypoint` names (a path
    /// ending in `.toml`), `/spin.toml`, the WebAssembly file that the first word names
    /// (ending in `.wasm`; the whole of `entrypoint` is then its command line). Paths,
    /// also behind links, stay inside of `root`.
    ///
    /// Folders that components mount are used where they are, so whoever changes them
    /// changes what guests see; single files, globs and `exclude_files` are refused.
    ///
    /// # Errors
    ///
    /// [`PrepareError::NothingToRun`] where there is none of the three, otherwise what
    /// is wrong with the one that is there.
    pub fn from_rootfs(root: &Path, entrypoint: &[String]) -> Result<Self, PrepareError> {
        let first = entrypoint.first().map(String::as_str).unwrap_or_default();
        if first.ends_with(".toml") {
            return from_manifest(root, Path::new(first));
        }
        let manifest = inside(root, Path::new(MANIFEST))?;
        if manifest.is_file() {
            return from_manifest(root, Path::new(MANIFEST));
        }
        if !first.ends_with(".wasm") {
            return Err(PrepareError::NothingToRun {
                entrypoint: match entrypoint {
                    [] => "is empty".to_owned(),
                    words => format!("`{}` names no `.wasm` file", words.join(" ")),
                },
            });
        }
        let stem = Path::new(first).file_stem().unwrap_or_default();
        let source = ContentRef {
            source: Some(first.to_owned()),
            ..ContentRef::default()
        };
        let application = Application::single_component(&stem.to_string_lossy(), source);
        let files = RootFs {
            root,
            folder: Path::new(""),
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
    /// What the manifest's paths are relative to.
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

    fn mounts(&self, component: &Component) -> Result<Vec<Mount>, PrepareError> {
        let refuse = |mount: &str, reason| {
            Err(PrepareError::DirectMount {
                component: component.id.clone(),
                mount: mount.to_owned(),
                reason,
            })
        };
        if let Some(pattern) = component.exclude_files.first() {
            return refuse(
                pattern,
                "is in `exclude_files`, which an image with its files as they are cannot have",
            );
        }
        let mut mounts = Vec::with_capacity(component.files.len());
        for mount in &component.files {
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
            let Some(path) = local_path(source) else {
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
            mounts.push(Mount {
                host,
                guest: format!("/{}", guest.display()),
            });
        }
        Ok(mounts)
    }
}
