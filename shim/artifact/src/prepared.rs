//! An application whose files are where the engine and the host read them.

mod error;
pub(crate) mod files;
mod folder;
mod place;
mod rootfs;
mod unpacked;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use skiff_compose::{
    Capabilities, ComposeError, Dependency as Part, Inherit as PartInherit, compose,
};
use skiff_manifest::{
    Application, Component, ContentRef, Dependency, DependencySource, Inherit, Rest,
};

use crate::Digest;
use crate::digest::Hasher;
use crate::open::{open_file, read_file};

pub(crate) use error::lines;
pub use error::{BuildError, Mistakes, PrepareError};
use place::Place;
pub(crate) use place::local_path;

/// An application, and the paths of everything it consists of.
///
/// Nothing in here has been compiled or is trusted: the binaries are the bytes that were
/// shipped.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The application itself.
    pub application: Application,
    /// Its components, in the application's order, including those that only others depend
    /// on.
    pub components: Vec<PreparedComponent>,
    /// The command line of a component that is run by file name (a plain image whose
    /// entrypoint names it, or a single file): its arguments as a `wasi:cli` program.
    pub command: Option<Vec<String>>,
    /// Not mistakes, but perhaps not what the author meant.
    pub warnings: Vec<String>,
}

/// A component's binaries and folders.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedComponent {
    /// The component's id in the application.
    pub id: String,
    /// Its binary: a component or a core module.
    pub wasm: PathBuf,
    /// The digest of that file.
    pub digest: Digest,
    /// What it is composed with.
    pub dependencies: Vec<PreparedDependency>,
    /// Folders that its guest sees.
    pub mounts: Vec<Mount>,
}

/// A component that satisfies imports of another.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedDependency {
    /// The imports it satisfies.
    pub name: String,
    /// Its binary.
    pub wasm: PathBuf,
    /// The digest of that file.
    pub digest: Digest,
    /// The export to use, if its name differs from the import's.
    pub export: Option<String>,
    /// Which of the parent's grants it may use.
    pub inherit: Inherit,
}

/// A folder of the host, and its path in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The folder.
    pub host: PathBuf,
    /// An absolute path in the guest.
    pub guest: String,
}

impl PreparedComponent {
    /// Identifies the component that [`PreparedComponent::build`] creates, without building
    /// it: the digest of the binary, or of the binary and everything it is composed with.
    pub fn key(&self) -> Digest {
        if self.dependencies.is_empty() {
            return self.digest;
        }
        let mut hasher = Hasher::default();
        // Lengths come first, so that no two lists of texts give the same bytes.
        let mut field = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        field(&self.digest.to_string());
        for dependency in &self.dependencies {
            field(&dependency.name);
            field(&dependency.digest.to_string());
            field(dependency.export.as_deref().unwrap_or_default());
            match &dependency.inherit {
                Inherit::All => field("all"),
                Inherit::Some(keys) => {
                    field(&format!("some {}", keys.len()));
                    keys.iter().for_each(|key| field(key));
                }
            }
        }
        hasher.finish()
    }

    /// Reads the binaries and builds one self-contained component from them, in which each
    /// dependency is denied those `capabilities` that it does not inherit.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the component and the affected file or dependency.
    pub fn build(&self, capabilities: Capabilities) -> Result<Vec<u8>, BuildError> {
        let read = |path: &Path| {
            read_file(path).map_err(|source| BuildError::Read {
                component: self.id.clone(),
                path: path.to_owned(),
                source,
            })
        };
        let parent = read(&self.wasm)?;
        let binaries: Vec<Vec<u8>> = self
            .dependencies
            .iter()
            .map(|dependency| read(&dependency.wasm))
            .collect::<Result<_, _>>()?;
        let parts: Vec<Part<'_>> = self
            .dependencies
            .iter()
            .zip(&binaries)
            .map(|(dependency, bytes)| dependency.part(bytes))
            .collect();
        let whole =
            compose(&parent, &parts, capabilities).map_err(|source| self.refused(source))?;
        Ok(whole.into_owned())
    }

    fn refused(&self, source: ComposeError) -> BuildError {
        BuildError::Compose {
            component: self.id.clone(),
            source,
        }
    }
}

impl PreparedDependency {
    fn part<'a>(&'a self, bytes: &'a [u8]) -> Part<'a> {
        Part {
            name: &self.name,
            bytes,
            export: self.export.as_deref(),
            inherit: match &self.inherit {
                Inherit::All => PartInherit::All,
                Inherit::Some(keys) => PartInherit::Keys(keys),
            },
        }
    }
}

/// Gets the file of a URL that has a digest (`sha256:…`). What it returns is checked.
pub type Fetch<'a> = &'a dyn Fn(&str, &str) -> Result<PathBuf, FetchError>;

/// Why there is no such file.
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// Finds the files an application refers to; one implementation for each form of
/// application.
trait Source {
    /// The file with the given content, and its digest.
    fn wasm(
        &self,
        place: &Place<'_>,
        content: &ContentRef,
    ) -> Result<(PathBuf, Digest), PrepareError>;

    /// The folders of a component.
    fn mounts(&self, component: &Component) -> Result<Mounted, Vec<PrepareError>>;
}

/// The result of collecting a component's `files`.
#[derive(Default)]
struct Mounted {
    mounts: Vec<Mount>,
    warnings: Vec<String>,
}

/// What the manifest describes.
struct Written {
    application: Application,
    /// The mistakes found so far, and the components of which only the source is known
    /// because of them.
    faults: Vec<PrepareError>,
    partial: BTreeSet<String>,
}

impl From<Application> for Written {
    fn from(application: Application) -> Self {
        Written {
            application,
            faults: Vec::new(),
            partial: BTreeSet::new(),
        }
    }
}

fn prepare(
    written: impl Into<Written>,
    source: &impl Source,
    command: Option<Vec<String>>,
) -> Result<Prepared, PrepareError> {
    let Written {
        application,
        mut faults,
        partial,
    } = written.into();
    let mut warnings = Vec::new();
    let mut components = Vec::with_capacity(application.components.len());
    for component in &application.components {
        if partial.contains(&component.id) {
            faults.extend(find(source, component, "source", &component.source).err());
            continue;
        }
        match prepare_component(&application, source, component) {
            Ok((component, of_component)) => {
                components.push(component);
                warnings.extend(of_component);
            }
            Err(of_component) => faults.extend(of_component),
        }
    }
    let prepared = Prepared {
        application,
        components,
        command,
        warnings,
    };
    match faults.is_empty() {
        true => Ok(prepared),
        false => Err(PrepareError::Components(Box::new(Mistakes {
            faults,
            rest: prepared,
        }))),
    }
}

/// A component with its warnings, or all its mistakes.
fn prepare_component(
    application: &Application,
    source: &impl Source,
    component: &Component,
) -> Result<(PreparedComponent, Vec<String>), Vec<PrepareError>> {
    let mut faults = Vec::new();
    if !component.trigger_dependencies.values().all(Vec::is_empty) {
        faults.push(PrepareError::Middleware {
            component: component.id.clone(),
        });
    }
    let mut note = |found: Result<_, PrepareError>| found.map_err(|fault| faults.push(fault)).ok();
    let own = note(find(source, component, "source", &component.source));
    let mut dependencies = Vec::with_capacity(component.dependencies.len());
    for (name, dependency) in &component.dependencies {
        let located = note(locate(application, source, component, name, dependency));
        dependencies.extend(located.map(|(wasm, digest)| PreparedDependency {
            name: name.clone(),
            wasm,
            digest,
            export: dependency.export.clone(),
            inherit: dependency.inherit.clone(),
        }));
    }
    let Mounted { mounts, warnings } = source.mounts(component).unwrap_or_else(|of_files| {
        faults.extend(of_files);
        Mounted::default()
    });
    match own {
        Some((wasm, digest)) if faults.is_empty() => Ok((
            PreparedComponent {
                id: component.id.clone(),
                wasm,
                digest,
                dependencies,
                mounts,
            },
            warnings,
        )),
        _ => Err(faults),
    }
}

fn locate(
    application: &Application,
    source: &impl Source,
    component: &Component,
    name: &str,
    dependency: &Dependency,
) -> Result<(PathBuf, Digest), PrepareError> {
    let what = format!("dependency `{name}`");
    let content = match &dependency.source {
        DependencySource::Content(content) => content,
        DependencySource::Component(id) => {
            let other = application.component(id);
            let other = other.ok_or_else(|| PrepareError::NoSuchComponent {
                component: component.id.clone(),
                what: what.clone(),
                id: id.clone(),
            })?;
            &other.source
        }
    };
    find(source, component, &what, content)
}

/// Finds a binary and checks its first bytes, so that anything but WebAssembly is reported
/// before compilation.
fn find(
    source: &impl Source,
    component: &Component,
    what: &str,
    content: &ContentRef,
) -> Result<(PathBuf, Digest), PrepareError> {
    let place = Place {
        component: &component.id,
        what: what.to_owned(),
    };
    let (path, digest) = source.wasm(&place, content)?;
    let mut header = [0; 16];
    let mut length = 0;
    let mut read = || -> io::Result<()> {
        let file = open_file(&path)?;
        let mut file = file.ok_or(io::ErrorKind::InvalidInput)?;
        loop {
            match file.read(&mut header[length..])? {
                0 => return Ok(()),
                read => length += read,
            }
        }
    };
    read().map_err(|source| place.unreadable(&path, source))?;
    let header = &header[..length];
    if skiff_compose::is_precompiled(header) {
        return Err(place.precompiled(path));
    }
    if skiff_compose::kind(header).is_none() {
        return Err(place.not_wasm(path));
    }
    Ok((path, digest))
}

/// Reads a manifest, up to the size limit. Of one with mistakes, the rest is passed on, as
/// its components may have more.
fn read_manifest(path: &Path) -> Result<Written, PrepareError> {
    /// Longer manifests have no use; the longest public ones have 30 KB.
    const MANIFEST_LIMIT: u64 = 4 << 20;

    let read = |source| PrepareError::Read {
        path: path.to_owned(),
        source,
    };
    let file = open_file(path).map_err(read)?;
    let file = file.ok_or_else(|| PrepareError::NotAFile {
        path: path.to_owned(),
    })?;
    let mut text = String::new();
    file.take(MANIFEST_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(read)?;
    if text.len() as u64 > MANIFEST_LIMIT {
        return Err(PrepareError::ManifestSize {
            path: path.to_owned(),
            limit: MANIFEST_LIMIT,
        });
    }
    let name = path.file_name().unwrap_or(path.as_os_str());
    match skiff_manifest::toml::read(&text, &name.to_string_lossy()) {
        Ok(application) => Ok(application.into()),
        Err(mut source) => {
            let rest = source.rest.take();
            let fault = PrepareError::Application { source };
            let Some(rest) = rest else {
                return Err(fault);
            };
            let Rest {
                application,
                partial,
            } = *rest;
            Ok(Written {
                application,
                faults: vec![fault],
                partial,
            })
        }
    }
}

/// A regular file's digest, checked against the reference's digest if it has one.
fn digest_file(
    place: &Place<'_>,
    path: PathBuf,
    content: &ContentRef,
) -> Result<(PathBuf, Digest), PrepareError> {
    let read = |source| place.unreadable(&path, source);
    let Some(file) = open_file(&path).map_err(read)? else {
        return Err(PrepareError::NotAFile { path });
    };
    let digest = Digest::of_reader(file).map_err(read)?;
    match &content.digest {
        Some(expected) if *expected != digest.to_string() => Err(PrepareError::Mismatch {
            component: place.component.to_owned(),
            what: place.what.clone(),
            path,
            found: digest,
        }),
        _ => Ok((path, digest)),
    }
}

/// The arguments of a program that is started as a single file.
fn command_of(path: &Path) -> Option<Vec<String>> {
    let name = path.file_name()?;
    Some(vec![name.to_string_lossy().into_owned()])
}
