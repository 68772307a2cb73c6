//! From a folder with a manifest, or from a single WebAssembly file.

use std::fs;
use std::path::{Path, PathBuf};

use skiff_manifest::{Application, Component, ContentRef};

use super::{
    Mount, Place, PrepareError, Prepared, Source, command_of, digest_file, files, prepare,
    read_manifest,
};
use crate::Digest;

/// The manifest of a folder.
pub(crate) const MANIFEST: &str = "spin.toml";

impl Prepared {
    /// The application of a manifest, given by itself or by its folder.
    ///
    /// The files of its components are copied to `scratch/<component id>`, which must
    /// not exist yet, and guests see them under `/`.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] names the component with the file, pattern or mistake.
    pub fn from_folder(path: &Path, scratch: &Path) -> Result<Self, PrepareError> {
        let (manifest, root) = manifest_and_root(path);
        let folder = Folder {
            root: &root,
            scratch: Some(scratch),
        };
        prepare(read_manifest(&manifest)?, &folder, None)
    }

    /// The same without the files, for who collects them another way.
    pub(crate) fn without_files(path: &Path) -> Result<(Self, PathBuf), PrepareError> {
        let (manifest, root) = manifest_and_root(path);
        let folder = Folder {
            root: &root,
            scratch: None,
        };
        Ok((prepare(read_manifest(&manifest)?, &folder, None)?, root))
    }

    /// An application of one component, which answers on every route and is granted
    /// nothing. Its command line is the file's name.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] where the file cannot be read or is not WebAssembly.
    pub fn from_wasm_file(path: &Path) -> Result<Self, PrepareError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let source = ContentRef {
            source: Some(name.into_owned()),
            ..ContentRef::default()
        };
        let application = Application::single_component(&stem, source);
        prepare(application, &SingleFile(path), command_of(path))
    }
}

/// The path of a manifest and the folder that its paths are relative to.
pub(crate) fn manifest_and_root(path: &Path) -> (PathBuf, PathBuf) {
    if path.is_dir() {
        return (path.join(MANIFEST), path.to_owned());
    }
    let root = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    (path.to_owned(), root)
}

struct Folder<'a> {
    root: &'a Path,
    scratch: Option<&'a Path>,
}

impl Source for Folder<'_> {
    fn wasm(
        &self,
        place: &Place<'_>,
        content: &ContentRef,
    ) -> Result<(PathBuf, Digest), PrepareError> {
        let path = self.root.join(place.path(content)?);
        digest_file(place, path, content)
    }

    fn mounts(&self, component: &Component) -> Result<Vec<Mount>, PrepareError> {
        let Some(scratch) = self.scratch else {
            return Ok(Vec::new());
        };
        if component.files.is_empty() {
            return Ok(Vec::new());
        }
        let host = scratch.join(&component.id);
        fs::create_dir(&host).map_err(|source| PrepareError::Copy {
            from: self.root.to_owned(),
            to: host.clone(),
            source,
        })?;
        for (destination, from) in files::collect(self.root, component)? {
            let to = host.join(destination);
            let parent = to.parent().unwrap_or(&host);
            let copied = fs::create_dir_all(parent).and_then(|()| fs::copy(&from, &to));
            copied.map_err(|source| PrepareError::Copy { from, to, source })?;
        }
        Ok(vec![Mount {
            host,
            guest: "/".to_owned(),
        }])
    }
}

struct SingleFile<'a>(&'a Path);

impl Source for SingleFile<'_> {
    fn wasm(
        &self,
        place: &Place<'_>,
        content: &ContentRef,
    ) -> Result<(PathBuf, Digest), PrepareError> {
        digest_file(place, self.0.to_owned(), content)
    }

    fn mounts(&self, _: &Component) -> Result<Vec<Mount>, PrepareError> {
        Ok(Vec::new())
    }
}
