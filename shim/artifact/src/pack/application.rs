//! The layers of an application, and the locked application that refers to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use skiff_compose::Capabilities;
use skiff_manifest::{
    Application, Component, ContentRef, Dependency, DependencySource, FileMount, lock,
};

use super::layout::{Writer, json};
use super::{INLINE_LIMIT, MAX_LAYERS, Options, PackError};
use crate::oci::{Execution, ImageConfig, SCHEMA_VERSION, media};
use crate::prepared::files::Files;
use crate::{Descriptor, Digest, Fetch, Manifest, PrepareError, Prepared, PreparedComponent};

/// The configuration's label that distinguishes the images of applications.
const LOCKED_LABEL: &str = "com.fermyon.spin.lockedAppDigest";

/// "Unknown", so that an archive's header does not depend on the system it was created on.
const GZIP_NO_SYSTEM: u8 = 255;

/// Every blob except the manifest has been written.
pub(super) struct Artifact {
    pub(super) manifest: Manifest,
    pub(super) archive: bool,
    pub(super) warnings: Vec<String>,
}

pub(super) fn assemble(
    source: &Path,
    options: &Options,
    capabilities: Capabilities,
    fetch: Fetch<'_>,
    writer: &Writer,
) -> Result<Artifact, PackError> {
    let (prepared, files) = Prepared::with_files_listed(source, fetch)
        .map_err(|error| also_not_built(error, capabilities))?;
    let mut components = Vec::with_capacity(prepared.components.len());
    let listed = prepared.components.iter().zip(files);
    for (component, (binaries, files)) in prepared.application.components.iter().zip(listed) {
        components.push(Parts {
            component,
            binaries,
            files: assets(component, files)?,
        });
    }
    let archive = options.archive || layer_count(&components, options) > MAX_LAYERS;
    let mut layers = Layers::default();
    let mut locked = prepared.application.clone();
    locked.components.clear();
    let mut not_built = Vec::new();
    for parts in &components {
        let mut component = parts.component.clone();
        match parts.push_wasm(&mut component, options, capabilities, writer, &mut layers) {
            Err(PackError::Build(errors)) => not_built.extend(errors),
            other => other?,
        }
        if !not_built.is_empty() {
            continue;
        }
        component.exclude_files.clear();
        component.files = parts.files.iter().map(Asset::mount).collect();
        parts.push_files(archive, writer, &mut layers)?;
        locked.components.push(component);
    }
    if !not_built.is_empty() {
        return Err(PackError::Build(not_built));
    }
    let locked = writer.bytes(media::SPIN_APPLICATION, &lock::write(&locked))?;
    layers.push(locked.clone());
    if layers.list.len() > MAX_LAYERS + 1 {
        return Err(PackError::TooManyLayers {
            layers: layers.list.len(),
        });
    }
    let config = writer.bytes(media::CONFIG, &config(&locked.digest))?;
    Ok(Artifact {
        manifest: Manifest {
            schema_version: SCHEMA_VERSION,
            media_type: Some(media::MANIFEST.to_owned()),
            config,
            layers: layers.list,
            annotations: annotations(&prepared.application, options),
        },
        archive,
        warnings: prepared.warnings,
    })
}

/// If some components cannot be prepared, the others may have mistakes that only show when
/// they are built; all are reported together.
fn also_not_built(error: PrepareError, capabilities: Capabilities) -> PackError {
    let PrepareError::Components(mut mistakes) = error else {
        return error.into();
    };
    for component in &mistakes.rest.components {
        let built = component.build(capabilities).map_err(PrepareError::from);
        mistakes.faults.extend(built.err());
    }
    PrepareError::Components(mistakes).into()
}

/// A component and the content of its layers.
struct Parts<'a> {
    component: &'a Component,
    binaries: &'a PreparedComponent,
    files: Vec<Asset>,
}

/// A file of a component.
struct Asset {
    /// Its path in the guest, with forward slashes.
    path: String,
    from: PathBuf,
    digest: Digest,
    inline: Option<Vec<u8>>,
}

/// Layers in order, without duplicates.
#[derive(Default)]
struct Layers {
    list: Vec<Descriptor>,
    known: BTreeSet<Digest>,
}

impl Layers {
    fn push(&mut self, layer: Descriptor) {
        if self.known.insert(layer.digest) {
            self.list.push(layer);
        }
    }
}

fn assets(component: &Component, files: Files) -> Result<Vec<Asset>, PackError> {
    let mut assets = Vec::new();
    for (path, from) in files {
        let Some(name) = path.to_str() else {
            return Err(PackError::FileName {
                component: component.id.clone(),
                path,
            });
        };
        let read = |source| PackError::Read {
            path: from.clone(),
            source,
        };
        let size = from.metadata().map_err(read)?.len();
        let (digest, inline) = if size <= INLINE_LIMIT as u64 {
            let bytes = fs::read(&from).map_err(read)?;
            (Digest::of(&bytes), Some(bytes))
        } else {
            (Digest::of_file(&from).map_err(read)?, None)
        };
        assets.push(Asset {
            path: name.to_owned(),
            digest,
            inline,
            from,
        });
    }
    Ok(assets)
}

/// The number of layers with one for each file.
fn layer_count(components: &[Parts<'_>], options: &Options) -> usize {
    let wasm: usize = components
        .iter()
        .map(|parts| match options.as_built {
            true => 1 + parts.binaries.dependencies.len(),
            false => 1,
        })
        .sum();
    let files: BTreeSet<Digest> = components
        .iter()
        .flat_map(|parts| &parts.files)
        .filter(|asset| asset.inline.is_none())
        .map(|asset| asset.digest)
        .collect();
    wasm + files.len()
}

impl Parts<'_> {
    /// Writes the binaries and lets `component` refer to them.
    fn push_wasm(
        &self,
        component: &mut Component,
        options: &Options,
        capabilities: Capabilities,
        writer: &Writer,
        layers: &mut Layers,
    ) -> Result<(), PackError> {
        if !options.as_built {
            let built = self.binaries.build(capabilities);
            let built = built.map_err(|error| PackError::Build(vec![error]))?;
            component.source = push_wasm(&built, writer, layers)?;
            component.dependencies.clear();
            return Ok(());
        }
        component.source = push_wasm_file(&self.binaries.wasm, writer, layers)?;
        for binary in &self.binaries.dependencies {
            let content = push_wasm_file(&binary.wasm, writer, layers)?;
            let dependency = Dependency {
                source: DependencySource::Content(content),
                export: binary.export.clone(),
                inherit: binary.inherit.clone(),
            };
            component
                .dependencies
                .insert(binary.name.clone(), dependency);
        }
        Ok(())
    }

    fn push_files(
        &self,
        archive: bool,
        writer: &Writer,
        layers: &mut Layers,
    ) -> Result<(), PackError> {
        if self.files.is_empty() {
            return Ok(());
        }
        if archive {
            layers.push(self.archive(writer)?);
            return Ok(());
        }
        for asset in self.files.iter().filter(|asset| asset.inline.is_none()) {
            if !layers.known.contains(&asset.digest) {
                layers.push(writer.file(media::SPIN_DATA, &asset.from, asset.digest)?);
            }
        }
        Ok(())
    }

    /// One archive of all files, identical whenever and by whoever it is created.
    fn archive(&self, writer: &Writer) -> Result<Descriptor, PackError> {
        let blob = writer.blob()?;
        let gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(GZIP_NO_SYSTEM)
            .write(blob, Compression::default());
        let mut archive = tar::Builder::new(gzip);
        for asset in &self.files {
            asset.append(&mut archive)?;
        }
        let gzip = archive.into_inner().map_err(unwritten)?;
        writer.add(media::SPIN_ARCHIVE, gzip.finish().map_err(unwritten)?)
    }
}

/// Finishing an archive writes to a file of the layout, whose name is not known here.
fn unwritten(source: std::io::Error) -> PackError {
    PackError::Write {
        path: PathBuf::from("an archive layer"),
        source,
    }
}

impl Asset {
    fn mount(&self) -> FileMount {
        FileMount::Content {
            content: ContentRef {
                inline: self.inline.clone(),
                digest: Some(self.digest.to_string()),
                ..ContentRef::default()
            },
            path: self.path.clone(),
        }
    }

    fn append(&self, archive: &mut tar::Builder<impl std::io::Write>) -> Result<(), PackError> {
        let read = |source| PackError::Read {
            path: self.from.clone(),
            source,
        };
        let file = File::open(&self.from).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        let mut content = Checked {
            inner: std::io::Read::take(file, size),
            hasher: crate::Hasher::default(),
        };
        archive
            .append_data(&mut header, &self.path, &mut content)
            .map_err(read)?;
        if content.hasher.finish() != self.digest {
            return Err(PackError::Changed {
                path: self.from.clone(),
            });
        }
        Ok(())
    }
}

/// A reader that hashes what it returns.
struct Checked<R> {
    inner: R,
    hasher: crate::Hasher,
}

impl<R: std::io::Read> std::io::Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

fn push_wasm_file(
    path: &Path,
    writer: &Writer,
    layers: &mut Layers,
) -> Result<ContentRef, PackError> {
    let bytes = fs::read(path).map_err(|source| PackError::Read {
        path: path.to_owned(),
        source,
    })?;
    push_wasm(&bytes, writer, layers)
}

/// A binary always gets a layer, even if it is small enough to be inline as well.
fn push_wasm(bytes: &[u8], writer: &Writer, layers: &mut Layers) -> Result<ContentRef, PackError> {
    let layer = writer.bytes(media::SPIN_WASM, bytes)?;
    let content = ContentRef {
        inline: (bytes.len() <= INLINE_LIMIT).then(|| bytes.to_vec()),
        digest: Some(layer.digest.to_string()),
        ..ContentRef::default()
    };
    layers.push(layer);
    Ok(content)
}

/// The command that kubelet and containerd require of a container. The artifact has no
/// program at a path, so it is the root path; pods for Spin's shim use the same.
const ENTRYPOINT: &str = "/";

/// The configuration Spin writes, plus an entrypoint. It shows containerd that the image is
/// WebAssembly, and the label distinguishes applications. containerd's CRI reads it like
/// any image's and creates no container for one without a command.
fn config(locked: &Digest) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Config {
        #[serde(flatten)]
        image: ImageConfig,
        rootfs: RootFs,
    }
    #[derive(serde::Serialize)]
    struct RootFs {
        r#type: &'static str,
        diff_ids: [String; 0],
    }
    let labels = BTreeMap::from([(LOCKED_LABEL.to_owned(), locked.to_string())]);
    json(&Config {
        image: ImageConfig {
            architecture: "wasm".to_owned(),
            os: "Wasip1".to_owned(),
            config: Some(Execution {
                entrypoint: Some(vec![ENTRYPOINT.to_owned()]),
                labels: Some(labels),
                ..Execution::default()
            }),
        },
        rootfs: RootFs {
            r#type: "layers",
            diff_ids: [],
        },
    })
}

fn annotations(application: &Application, options: &Options) -> BTreeMap<String, String> {
    if !options.annotations.is_empty() {
        return options.annotations.clone();
    }
    let created = options.created.clone().unwrap_or_default();
    [
        ("authors", application.authors.join(", ")),
        ("title", application.name.clone()),
        ("description", application.description.clone()),
        ("version", application.version.clone()),
        ("created", created),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value))
    .collect()
}
