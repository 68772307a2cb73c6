//! Writes OCI layouts: images of plain files, Wasm packages, and any odd or damaged
//! artifact that a test needs.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use crate::image::Image;

/// Media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index of manifests.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an image's configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer that is a plain tar archive.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of the configuration of a Wasm package (CNCF, `wkg oci push`).
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Media type of the one layer of a Wasm package.
pub const WASM_LAYER: &str = "application/wasm";

/// What can go wrong while an image is written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file for the image cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file of the layout cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The archive of a layer or layout cannot be made.
    #[error("cannot archive `{name}`")]
    Archive {
        /// The entry at which it failed.
        name: String,
        /// The archiver's error.
        source: io::Error,
    },
    /// A layout has no readable index.
    #[error("`{}` is not the index of a layout", path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// A blob as a manifest refers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type; empty if there is none.
    pub media_type: String,
    /// The digest: `sha256:` and 64 digits.
    pub digest: String,
    /// The size in bytes.
    pub size: usize,
}

impl Descriptor {
    /// The descriptor these bytes have.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
        Self {
            media_type: media_type.to_owned(),
            digest,
            size: bytes.len(),
        }
    }

    fn json(&self) -> Value {
        let mut json = json!({ "digest": self.digest, "size": self.size });
        if !self.media_type.is_empty() {
            json["mediaType"] = json!(self.media_type);
        }
        json
    }
}

/// A manifest in an index.
#[derive(Debug, Clone)]
pub struct Listed<'a> {
    /// The manifest.
    pub manifest: Descriptor,
    /// Its platform: operating system and architecture.
    pub platform: (&'a str, &'a str),
    /// The digest of the image that it attests.
    pub attests: Option<&'a str>,
}

impl Listed<'_> {
    fn json(&self) -> Value {
        let (os, architecture) = self.platform;
        let mut json = self.manifest.json();
        json["platform"] = json!({ "os": os, "architecture": architecture });
        if let Some(digest) = self.attests {
            json["annotations"] = json!({
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": digest,
            });
        }
        json
    }
}

/// An OCI layout: a folder with `oci-layout`, `index.json` and blobs.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// Opens an existing layout, for example one of `skiff push --to-layout`.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Starts an empty layout. It is complete after [`Layout::manifest`].
    ///
    /// # Errors
    ///
    /// When the folder cannot be written.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self, ImageError> {
        let layout = Self::open(folder);
        let blobs = layout.folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|source| ImageError::Write {
            path: blobs.clone(),
            source,
        })?;
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(layout)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a blob.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, ImageError> {
        let descriptor = Descriptor::of(media_type, bytes);
        self.write(&blob_name(&descriptor.digest), bytes)?;
        Ok(descriptor)
    }

    /// Adds the manifest of this configuration and these layers, and makes it the
    /// layout's top-level one. Returns the manifest's descriptor.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn manifest(
        &self,
        config: &Descriptor,
        layers: &[Descriptor],
    ) -> Result<Descriptor, ImageError> {
        let layers: Vec<_> = layers.iter().map(Descriptor::json).collect();
        let document = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.json(),
            "layers": layers,
        });
        let manifest = self.blob(MANIFEST, document.to_string().as_bytes())?;
        self.is_about(&manifest)?;
        Ok(manifest)
    }

    /// Adds an index of existing manifests, each with its platform and annotations, and
    /// makes it the layout's top-level one.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn index(&self, manifests: &[Listed<'_>]) -> Result<Descriptor, ImageError> {
        let manifests: Vec<_> = manifests.iter().map(Listed::json).collect();
        let document = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let index = self.blob(INDEX, document.to_string().as_bytes())?;
        self.is_about(&index)?;
        Ok(index)
    }

    /// The layout's top-level manifest or index.
    ///
    /// # Errors
    ///
    /// When the layout is incomplete.
    pub fn subject(&self) -> Result<Descriptor, ImageError> {
        let index = self.read_index()?;
        let subject = &index["manifests"][0];
        let text = |name: &str| subject[name].as_str().unwrap_or_default().to_owned();
        let size = subject["size"].as_u64().unwrap_or_default();
        Ok(Descriptor {
            media_type: text("mediaType"),
            digest: text("digest"),
            size: usize::try_from(size).unwrap_or_default(),
        })
    }

    fn is_about(&self, subject: &Descriptor) -> Result<(), ImageError> {
        let index = json!({ "schemaVersion": 2, "manifests": [subject.json()] });
        self.write("index.json", index.to_string().as_bytes())
    }

    /// Writes the layout as one archive, its image named for containerd.
    ///
    /// # Errors
    ///
    /// When the layout is incomplete, or the archive cannot be written.
    pub fn archive(&self, name: &str, out: impl Write) -> Result<(), ImageError> {
        let index = self.named_index(name)?;
        let mut archive = tar::Builder::new(out);
        append(&mut archive, "index.json", 0o644, index.as_bytes())?;
        append(&mut archive, "oci-layout", 0o644, &self.read("oci-layout")?)?;
        let mut blobs = Vec::new();
        files_below(&self.folder.join("blobs"), &mut blobs)?;
        for blob in blobs {
            let inner = blob.strip_prefix(&self.folder).unwrap_or(&blob);
            archive
                .append_path_with_name(&blob, inner)
                .map_err(|source| ImageError::Archive {
                    name: inner.display().to_string(),
                    source,
                })?;
        }
        archive.finish().map_err(|source| ImageError::Archive {
            name: name.to_owned(),
            source,
        })
    }

    /// The index with the annotation by which containerd names an image.
    fn named_index(&self, name: &str) -> Result<String, ImageError> {
        let mut index = self.read_index()?;
        for manifest in index["manifests"].as_array_mut().into_iter().flatten() {
            manifest["annotations"] = json!({ "io.containerd.image.name": name });
        }
        Ok(index.to_string())
    }

    fn read_index(&self) -> Result<Value, ImageError> {
        let bytes = self.read("index.json")?;
        serde_json::from_slice(&bytes).map_err(|source| ImageError::Index {
            path: self.folder.join("index.json"),
            source,
        })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        read(&self.folder.join(name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(|source| ImageError::Write { path, source })
    }
}

/// The path of a blob in its layout: `blobs/sha256/…`.
pub fn blob_name(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// A Wasm package as `wkg oci push` makes it of a component.
///
/// # Errors
///
/// When the folder cannot be written.
pub fn wasm_package(wasm: &[u8], folder: impl Into<PathBuf>) -> Result<Layout, ImageError> {
    package(wasm, folder.into(), WASM_CONFIG)
}

/// The same package with an image's configuration, as builders make it for tools that
/// only accept that, for example `ctr run`.
///
/// # Errors
///
/// When the folder cannot be written.
pub fn wasm_image(wasm: &[u8], folder: impl Into<PathBuf>) -> Result<Layout, ImageError> {
    package(wasm, folder.into(), CONFIG)
}

fn package(wasm: &[u8], folder: PathBuf, config_type: &str) -> Result<Layout, ImageError> {
    let layout = Layout::create(folder)?;
    let layer = layout.blob(WASM_LAYER, wasm)?;
    let mut config = json!({
        "created": "2026-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
    });
    if config_type == WASM_CONFIG {
        config["layerDigests"] = json!([layer.digest]);
        config["component"] = json!({
            "exports": ["wasi:http/incoming-handler@0.2.0"],
            "imports": [],
        });
    }
    let config = layout.blob(config_type, config.to_string().as_bytes())?;
    layout.manifest(&config, &[layer])?;
    Ok(layout)
}

pub(crate) fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    content: &[u8],
) -> Result<(), ImageError> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive
        .append_data(&mut header, path.trim_start_matches('/'), content)
        .map_err(|source| ImageError::Archive {
            name: path.to_owned(),
            source,
        })
}

/// All files below a folder, sorted by name, so that the same folder makes the same
/// image.
pub(crate) fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), ImageError> {
    let failed = |source| ImageError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut entries: Vec<_> = fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type().map_err(failed)?.is_dir() {
            files_below(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(|source| ImageError::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_the_name_and_every_blob() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = wasm_package(b"\0asm", folder.path()).expect("written");
        let mut bytes = Vec::new();
        layout
            .archive("localhost/a:1", &mut bytes)
            .expect("archived");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                entry
                    .expect("entry")
                    .path()
                    .expect("path")
                    .display()
                    .to_string()
            })
            .collect();
        assert_eq!(names[..2], ["index.json", "oci-layout"]);
        let layer = Descriptor::of(WASM_LAYER, b"\0asm");
        assert!(names.contains(&blob_name(&layer.digest)), "{names:?}");
        assert!(
            layout
                .named_index("localhost/a:1")
                .expect("index")
                .contains("localhost/a:1")
        );
    }
}
