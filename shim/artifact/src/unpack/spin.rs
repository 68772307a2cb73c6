//! Spin applications: WebAssembly by digest, and files by component.

use std::collections::BTreeSet;
use std::path::{Component as PathPart, Path};

use skiff_manifest::{
    Application, Component, ContentRef, Dependency, DependencySource, FileMount, lock,
};

use super::contents::Contents;
use super::links::Second;
use super::{APPLICATION_FILE, UnpackError, Unpacker, WASM_FOLDER, assets_path};
use crate::Digest;
use crate::paths::relative_file;

impl Unpacker<'_> {
    /// Unpacks the application that `locked` describes.
    pub(super) fn spin(&self, locked: &[u8]) -> Result<(), UnpackError> {
        let application = lock::read(locked, "locked application")
            .map_err(|source| UnpackError::Application { source })?;
        for component in &application.components {
            check_id(&component.id)?;
        }
        self.write(Path::new(APPLICATION_FILE), locked)?;
        self.create_folders(Path::new(WASM_FOLDER))?;
        for component in &application.components {
            self.component_wasm(component)?;
        }
        self.files(&application)
    }

    fn component_wasm(&self, component: &Component) -> Result<(), UnpackError> {
        self.wasm(component, "source", &component.source)?;
        for (name, dependency) in &component.dependencies {
            self.dependency(component, name, dependency)?;
        }
        for (role, dependencies) in &component.trigger_dependencies {
            for dependency in dependencies {
                self.dependency(component, role, dependency)?;
            }
        }
        Ok(())
    }

    fn dependency(
        &self,
        component: &Component,
        name: &str,
        dependency: &Dependency,
    ) -> Result<(), UnpackError> {
        match &dependency.source {
            DependencySource::Content(content) => {
                self.wasm(component, &format!("dependency `{name}`"), content)
            }
            DependencySource::Component(_) => Ok(()),
        }
    }

    /// Fetches one binary: from the layer with its digest, whatever its media type, else
    /// from the application itself.
    fn wasm(
        &self,
        component: &Component,
        what: &str,
        content: &ContentRef,
    ) -> Result<(), UnpackError> {
        let place = Place { component, what };
        let digest = place.digest(content)?;
        if let Some(digest) = digest {
            if self.has_wasm(&digest)? {
                return Ok(());
            }
            let mut layers = self.image.manifest.layers.iter();
            if let Some(layer) = layers.find(|layer| layer.digest == digest) {
                return self.wasm_layer(layer);
            }
        }
        match (&content.inline, digest) {
            (Some(bytes), digest) => {
                place.check_inline(bytes, digest)?;
                self.wasm_inline(bytes).map(drop)
            }
            (None, Some(digest)) => Err(place.missing(digest)),
            (None, None) => Err(place.not_pushed(content)),
        }
    }

    /// Writes the files of all components to where they are mounted from.
    fn files(&self, application: &Application) -> Result<(), UnpackError> {
        let mut wanted = BTreeSet::new();
        for (component, content, path) in contents(application) {
            if content.inline.is_none() {
                let what = format!("file `{path}`");
                let place = Place {
                    component,
                    what: &what,
                };
                let digest = place.digest(content)?;
                wanted.insert(digest.ok_or_else(|| place.not_pushed(content))?);
            }
        }
        for component in &application.components {
            refuse_local(component)?;
        }
        let found = self.contents(wanted)?;
        for (component, content, path) in contents(application) {
            self.file(component, content, path, &found)?;
        }
        self.close_contents()
    }

    fn file(
        &self,
        component: &Component,
        content: &ContentRef,
        path: &str,
        found: &Contents,
    ) -> Result<(), UnpackError> {
        let relative = relative_file(Path::new(path)).map_err(|source| UnpackError::FilePath {
            component: component.id.clone(),
            path: path.to_owned(),
            source,
        })?;
        let to = assets_path(Path::new(""), &component.id).join(relative);
        if let Some(parent) = to.parent() {
            self.create_folders(parent)?;
        }
        let what = format!("file `{path}`");
        let place = Place {
            component,
            what: &what,
        };
        let digest = place.digest(content)?;
        // A path that is listed twice has the content of its last entry; the first may be a
        // hard link to shared content, which must not be written to.
        let removed = self.folder.remove(&to);
        removed.map_err(|source| self.cannot_write(&to, source))?;
        match (&content.inline, digest) {
            (Some(bytes), digest) => {
                place.check_inline(bytes, digest)?;
                self.write(&to, bytes)
            }
            (None, Some(digest)) => {
                self.budget.file()?;
                let from = found.get(&digest).ok_or_else(|| place.missing(digest))?;
                if self.link_or_copy(from, &to)? == Second::Copy {
                    self.renew_content(from, &to)?;
                }
                Ok(())
            }
            (None, None) => Err(place.not_pushed(content)),
        }
    }
}

/// Every file of every component, by content.
fn contents(application: &Application) -> impl Iterator<Item = (&Component, &ContentRef, &str)> {
    application.components.iter().flat_map(|component| {
        component.files.iter().filter_map(move |mount| match mount {
            FileMount::Content { content, path } => Some((component, content, path.as_str())),
            FileMount::Pattern(_) | FileMount::Placed { .. } => None,
        })
    })
}

/// In an artifact all files are given by content; others exist only on the machine that
/// created it.
fn refuse_local(component: &Component) -> Result<(), UnpackError> {
    for mount in &component.files {
        let reference = match mount {
            FileMount::Content { .. } => continue,
            FileMount::Pattern(pattern) => pattern,
            FileMount::Placed { source, .. } => source,
        };
        return Err(UnpackError::NotPushed {
            component: component.id.clone(),
            what: "a file".to_owned(),
            reference: reference.clone(),
        });
    }
    Ok(())
}

/// A component's id is the name of its files' folder.
fn check_id(id: &str) -> Result<(), UnpackError> {
    let mut parts = Path::new(id).components();
    match (parts.next(), parts.next()) {
        (Some(PathPart::Normal(part)), None) if part == id && !id.contains('\0') => Ok(()),
        _ => Err(UnpackError::ComponentId { id: id.to_owned() }),
    }
}

/// The use of some content, for errors.
struct Place<'a> {
    component: &'a Component,
    what: &'a str,
}

impl Place<'_> {
    fn digest(&self, content: &ContentRef) -> Result<Option<Digest>, UnpackError> {
        let Some(text) = &content.digest else {
            return Ok(None);
        };
        let digest = text.parse().map_err(|source| UnpackError::Digest {
            component: self.component.id.clone(),
            what: self.what.to_owned(),
            source,
        })?;
        Ok(Some(digest))
    }

    fn check_inline(&self, bytes: &[u8], digest: Option<Digest>) -> Result<(), UnpackError> {
        match digest {
            Some(digest) if digest != Digest::of(bytes) => Err(UnpackError::Inline {
                component: self.component.id.clone(),
                what: self.what.to_owned(),
                digest,
            }),
            _ => Ok(()),
        }
    }

    fn missing(&self, digest: Digest) -> UnpackError {
        UnpackError::MissingContent {
            component: self.component.id.clone(),
            what: self.what.to_owned(),
            digest,
        }
    }

    fn not_pushed(&self, content: &ContentRef) -> UnpackError {
        let package = content.package.as_ref();
        let reference = content.source.clone();
        UnpackError::NotPushed {
            component: self.component.id.clone(),
            what: self.what.to_owned(),
            reference: reference
                .or_else(|| package.map(|package| package.package.clone()))
                .unwrap_or_default(),
        }
    }
}
