//! Applications from a folder with a manifest, or from a single WebAssembly file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use skiff_manifest::{Application, Component, ContentRef};

use super::files::{self, Collected, Files};
use super::{
    Fetch, Mount, Mounted, Place, PrepareError, Prepared, Source, command_of, digest_file, prepare,
    read_manifest,
};
use crate::Digest;

/// The manifest of a folder.
pub(crate) const MANIFEST: &str = "spin.toml";

impl Prepared {
    /// The application of a manifest, given as its path or its folder.
    ///
    /// The files of its components are copied to `scratch/<component id>`, which must
    /// not exist yet, and guests see them under `/`. Components that it names by URL and
    /// digest come from `fetch`.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] names the component with the file, pattern or mistake.
    pub fn from_folder(
        path: &Path,
        scratch: &Path,
        fetch: Fetch<'_>,
    ) -> Result<Self, PrepareError> {
        let (manifest, root) = manifest_and_root(path);
        let copy = |component: &Component, files: Files| copy(&scratch.join(&component.id), files);
        let folder = Folder {
            root: &root,
            copy,
            fetch,
        };
        prepare(read_manifest(&manifest)?, &folder, None)
    }

    /// The same, with the files in place and in the order of the components, for callers
    /// that copy them elsewhere.
    pub(crate) fn with_files_listed(
        path: &Path,
        fetch: Fetch<'_>,
    ) -> Result<(Self, Vec<Files>), PrepareError> {
        let (manifest, root) = manifest_and_root(path);
        let listed = RefCell::new(BTreeMap::new());
        let list = |component: &Component, files: Files| {
            listed.borrow_mut().insert(component.id.clone(), files);
            Ok(Vec::new())
        };
        let folder = Folder {
            root: &root,
            copy: list,
            fetch,
        };
        let prepared = prepare(read_manifest(&manifest)?, &folder, None)?;
        let mut listed = listed.into_inner();
        let components = prepared.components.iter();
        let files = components.map(|component| listed.remove(&component.id).unwrap_or_default());
        let files = files.collect();
        Ok((prepared, files))
    }

    /// An application of one component, which answers on every route and has no grants. Its
    /// command line is the file's name, its id the path as given.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] if the file cannot be read or is not WebAssembly.
    pub fn from_wasm_file(path: &Path) -> Result<Self, PrepareError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let source = ContentRef {
            source: Some(name.into_owned()),
            ..ContentRef::default()
        };
        let application = Application::single_component(&stem, &path.to_string_lossy(), source);
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

struct Folder<'a, F> {
    root: &'a Path,
    /// Copies a component's files to where they are mounted from.
    copy: F,
    fetch: Fetch<'a>,
}

impl<F> Source for Folder<'_, F>
where
    F: Fn(&Component, Files) -> Result<Vec<Mount>, PrepareError>,
{
    fn wasm(
        &self,
        place: &Place<'_>,
        content: &ContentRef,
    ) -> Result<(PathBuf, Digest), PrepareError> {
        let path = place.path_or_fetched(content, self.root, self.fetch)?;
        digest_file(place, path, content)
    }

    fn mounts(&self, component: &Component) -> Result<Mounted, Vec<PrepareError>> {
        if component.files.is_empty() {
            return Ok(Mounted::default());
        }
        let collected = files::collect(self.root, component);
        let Collected { files, warnings } = collected.map_err(|faults| {
            faults
                .into_iter()
                .map(PrepareError::from)
                .collect::<Vec<_>>()
        })?;
        let mounts = (self.copy)(component, files).map_err(|fault| vec![fault])?;
        Ok(Mounted { mounts, warnings })
    }
}

/// Copies files into the new folder `host`.
fn copy(host: &Path, files: Files) -> Result<Vec<Mount>, PrepareError> {
    fs::create_dir(host).map_err(|source| PrepareError::Create {
        path: host.to_owned(),
        source,
    })?;
    for (destination, from) in files {
        let to = host.join(destination);
        let parent = to.parent().unwrap_or(host);
        let copied = fs::create_dir_all(parent).and_then(|()| fs::copy(&from, &to));
        copied.map_err(|source| PrepareError::Copy { from, to, source })?;
    }
    Ok(vec![Mount {
        host: host.to_owned(),
        guest: "/".to_owned(),
    }])
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

    fn mounts(&self, _: &Component) -> Result<Mounted, Vec<PrepareError>> {
        Ok(Mounted::default())
    }
}
