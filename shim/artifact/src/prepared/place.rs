//! Where a binary belongs, for its path and for what is wrong with it.

use std::io;
use std::path::{Path, PathBuf};

use skiff_manifest::ContentRef;

use super::{Fetch, PrepareError};

/// The use of some content, for errors.
pub(super) struct Place<'a> {
    pub(super) component: &'a str,
    pub(super) what: String,
}

impl Place<'_> {
    pub(super) fn unreadable(&self, path: &Path, source: io::Error) -> PrepareError {
        PrepareError::Binary {
            component: self.component.to_owned(),
            what: self.what.clone(),
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn not_wasm(&self, path: PathBuf) -> PrepareError {
        PrepareError::NotWasm {
            component: self.component.to_owned(),
            what: self.what.clone(),
            path,
        }
    }

    pub(super) fn precompiled(&self, path: PathBuf) -> PrepareError {
        PrepareError::Precompiled {
            component: self.component.to_owned(),
            what: self.what.clone(),
            path,
        }
    }

    pub(super) fn remote(&self, reference: &str) -> PrepareError {
        PrepareError::Remote {
            component: self.component.to_owned(),
            what: self.what.clone(),
            reference: reference.to_owned(),
        }
    }

    /// The path in a manifest's content reference.
    pub(super) fn path<'c>(&self, content: &'c ContentRef) -> Result<&'c Path, PrepareError> {
        if let Some(package) = &content.package {
            return Err(self.remote(&format!("{}@{}", package.package, package.version)));
        }
        let source = content.source.as_deref().unwrap_or_default();
        local_path(source).ok_or_else(|| self.remote(source))
    }

    /// The same for a manifest whose URLs may be fetched.
    pub(super) fn path_or_fetched(
        &self,
        content: &ContentRef,
        root: &Path,
        fetch: Fetch<'_>,
    ) -> Result<PathBuf, PrepareError> {
        let source = content.source.as_deref().unwrap_or_default();
        match &content.digest {
            Some(digest) if source.starts_with("http://") || source.starts_with("https://") => {
                fetch(source, digest).map_err(|source| PrepareError::Fetch {
                    component: self.component.to_owned(),
                    what: self.what.clone(),
                    source,
                })
            }
            _ => Ok(root.join(self.path(content)?)),
        }
    }
}

/// A path, or the path of a `file:` URL; `None` for other URLs and where there is none.
pub(crate) fn local_path(source: &str) -> Option<&Path> {
    match source.split_once("://") {
        Some(("file", path)) => Some(Path::new(path)),
        Some(_) => None,
        None if source.is_empty() => None,
        None => Some(Path::new(source)),
    }
}
