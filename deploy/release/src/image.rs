//! The image that installs Skiff on a node: the installer and its payload.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat};
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use skiff_artifact::pack::{Blob, PackError, Writer};
use skiff_artifact::{Descriptor, Digest, Hasher, Index, Manifest, media};
use tempfile::TempDir;

use crate::{Archive, ArchiveError, Platform, gzip};

/// The image's repository.
const REPOSITORY: &str = "ghcr.io/skiff-dev/installer";

/// The name of the self-check's image in its layout.
const HELLO_REPOSITORY: &str = "ghcr.io/skiff-dev/hello";

/// The self-check's program, as text.
const HELLO: &str = include_str!("../../../images/installer/hello.wat");

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A layer.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file of the layout.
    #[error(transparent)]
    Layout(#[from] PackError),
    /// A layer's compressed data cannot be written.
    #[error("cannot compress a layer")]
    Compress(#[source] io::Error),
    /// The existing image cannot be replaced, or no folder can be made for the payload.
    #[error("cannot make room for `{}`", path.display())]
    Place {
        /// The image.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An invalid date.
    #[error("{seconds} seconds after 1970 are not a date")]
    Date {
        /// The given value.
        seconds: u64,
    },
}

/// The installer's image, to be written.
#[derive(Debug, Clone)]
pub struct InstallerImage {
    /// The release, for example `0.1.0`.
    pub version: String,
    /// Its commit, if known.
    pub revision: Option<String>,
    /// The commit's date in seconds since 1970; every file in the image has it.
    pub date: u64,
    /// For each platform the folder with its `skiff` and `skiff-installer`.
    pub platforms: Vec<(Platform, PathBuf)>,
}

impl InstallerImage {
    /// The name it is published under.
    pub fn reference(&self) -> String {
        format!("{REPOSITORY}:{}", self.version)
    }

    /// Writes it as an OCI layout, replacing an existing one. The returned index has a
    /// manifest for each platform; its digest names the image. The same binaries,
    /// version, revision and date make the same digest.
    ///
    /// # Errors
    ///
    /// When a binary cannot be read or the layout cannot be written, or `layout` exists
    /// and is not a layout.
    pub fn write(&self, layout: &Path) -> Result<Descriptor, ImageError> {
        make_room(layout)?;
        let writer = Writer::beside(layout)?;
        let mut manifests = Vec::new();
        for (platform, binaries) in &self.platforms {
            manifests.push(self.manifest(*platform, binaries, &writer)?);
        }
        let index = Index {
            schema_version: 2,
            media_type: Some(media::INDEX.to_owned()),
            manifests,
        };
        let index = writer.json(media::INDEX, &index)?;
        writer.finish(&index, Some(&self.reference()))?;
        Ok(index)
    }

    /// Writes the self-check's application as the OCI layout in the image: a package of
    /// one component, which containerd need not unpack.
    ///
    /// # Errors
    ///
    /// When the layout cannot be written, or `layout` exists and is not a layout.
    ///
    /// # Panics
    ///
    /// If this crate's own program text is invalid.
    pub fn write_hello(&self, layout: &Path) -> Result<(), ImageError> {
        make_room(layout)?;
        let module = wat::parse_str(HELLO).expect("its own test has read the text");
        let component = skiff_compose::componentize(&module).expect("its own test has made it");
        let boundary = skiff_compose::boundary(&component).expect("its own test has made it");
        let writer = Writer::beside(layout)?;
        let layer = writer.bytes(media::WASM, &component)?;
        let config = writer.json(
            media::WASM_CONFIG,
            &json!({
                "created": self.created()?,
                "architecture": "wasm",
                "os": "wasip2",
                "layerDigests": [layer.digest.to_string()],
                "component": { "exports": boundary.exports, "imports": boundary.imports },
            }),
        )?;
        let manifest = writer.json(media::MANIFEST, &manifest(config, vec![layer]))?;
        let reference = format!("{HELLO_REPOSITORY}:{}", self.version);
        writer.finish(&manifest, Some(&reference))?;
        Ok(())
    }

    fn manifest(
        &self,
        platform: Platform,
        binaries: &Path,
        writer: &Writer,
    ) -> Result<Descriptor, ImageError> {
        let scratch = TempDir::new().map_err(|source| ImageError::Place {
            path: std::env::temp_dir(),
            source,
        })?;
        let hello = scratch.path().join("hello");
        self.write_hello(&hello)?;
        let payload = Archive::of(self.date)
            .copy("payload/skiff", 0o755, &binaries.join("skiff"))
            .bytes("payload/version", 0o644, format!("{}\n", self.version))
            .folder("payload/hello", &hello)?;
        let installer = Archive::of(self.date).copy(
            "skiff-installer",
            0o755,
            &binaries.join("skiff-installer"),
        );
        self.image(
            writer,
            platform,
            &["/skiff-installer"],
            &[payload, installer],
        )
    }

    /// Adds an image for one platform.
    fn image(
        &self,
        writer: &Writer,
        platform: Platform,
        entrypoint: &[&str],
        contents: &[Archive],
    ) -> Result<Descriptor, ImageError> {
        let mut layers = Vec::new();
        let mut inner = Vec::new();
        for archive in contents {
            let (descriptor, uncompressed) = layer(writer, archive)?;
            layers.push(descriptor);
            inner.push(uncompressed.to_string());
        }
        let config = writer.json(
            media::CONFIG,
            &json!({
                "created": self.created()?,
                "architecture": platform.architecture(),
                "os": "linux",
                "config": {
                    "Entrypoint": entrypoint,
                    "WorkingDir": "/",
                    "Labels": self.labels(),
                },
                "rootfs": { "type": "layers", "diff_ids": inner },
            }),
        )?;
        let mut descriptor = writer.json(media::MANIFEST, &manifest(config, layers))?;
        descriptor.platform = Some(skiff_artifact::Platform {
            architecture: platform.architecture().to_owned(),
            os: "linux".to_owned(),
            variant: None,
        });
        Ok(descriptor)
    }

    fn labels(&self) -> Value {
        let mut labels = json!({
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
            "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        });
        if let Some(revision) = &self.revision {
            labels["org.opencontainers.image.revision"] = json!(revision);
        }
        labels
    }

    fn created(&self) -> Result<String, ImageError> {
        let seconds = i64::try_from(self.date).ok();
        let date = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let date = date.ok_or(ImageError::Date { seconds: self.date })?;
        Ok(date.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

fn manifest(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.to_owned()),
        config,
        layers,
        annotations: BTreeMap::new(),
    }
}

/// Adds an archive as a compressed layer; returns its descriptor and the digest of the
/// uncompressed data.
fn layer(writer: &Writer, archive: &Archive) -> Result<(Descriptor, Digest), ImageError> {
    let hashed = archive.write(Hashed {
        out: gzip(writer.blob()?),
        hasher: Hasher::default(),
    })?;
    let blob = hashed.out.finish().map_err(ImageError::Compress)?;
    Ok((writer.add(LAYER, blob)?, hashed.hasher.finish()))
}

/// Removes an existing layout, or creates its parent folder. Anything else stays, and is
/// an error.
fn make_room(layout: &Path) -> Result<(), ImageError> {
    let made = if layout.join("oci-layout").exists() {
        fs::remove_dir_all(layout)
    } else if let Some(parent) = layout.parent() {
        fs::create_dir_all(parent)
    } else {
        Ok(())
    };
    made.map_err(|source| ImageError::Place {
        path: layout.to_owned(),
        source,
    })
}

/// A writer that digests the data on its way to the compressor.
struct Hashed {
    out: GzEncoder<Blob>,
    hasher: Hasher,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
