//! The kind of image that a manifest describes.

use crate::blobs::read_whole;
use crate::oci::{ImageConfig, SCHEMA_VERSION, media};
use crate::shown::{listed, shown};
use crate::{BlobError, Blobs, Descriptor, Digest, Limits, Manifest};

/// The media types of layers that only WebAssembly artifacts use.
const WASM_LAYERS: [&str; 4] = [
    media::WASM,
    media::SPIN_WASM,
    media::SPIN_DATA,
    media::SPIN_ARCHIVE,
];

/// An image whose manifest and configuration have been read and checked.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest's own descriptor; its digest names the image.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration blob.
    pub config: Vec<u8>,
    /// The kind of image, which determines how it is read.
    pub kind: Kind,
}

/// The kinds of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A Spin application, as `spin registry push` creates it since Spin 2.
    Spin {
        /// The layer with the locked application.
        locked: Descriptor,
    },
    /// A Spin application of Spin 1: its configuration is the locked application.
    SpinConfig,
    /// A single component or core module, as `wkg oci push` creates it.
    Component {
        /// Its only layer.
        layer: Descriptor,
    },
    /// An ordinary container image. Its files decide what it runs.
    RootFs,
}

/// Why a manifest does not describe an image that can be run.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The manifest or the configuration cannot be read.
    #[error("cannot read the {what}")]
    Blob {
        /// Which of them.
        what: &'static str,
        /// The cause.
        source: BlobError,
    },
    /// The descriptor does not point to an image manifest.
    #[error("{digest} is not an image manifest but `{media_type}`")]
    NotAManifest {
        /// The requested blob.
        digest: Digest,
        /// What it is instead.
        media_type: String,
    },
    /// The manifest does not parse.
    #[error("manifest {digest} cannot be understood")]
    Json {
        /// The manifest.
        digest: Digest,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A WebAssembly artifact that is neither a Spin application nor one component.
    #[error(
        "image {digest} has no Spin application and {layers} layers, {wasm} of them WebAssembly: a component's image has exactly one layer"
    )]
    WasmLayers {
        /// The manifest.
        digest: Digest,
        /// The number of layers.
        layers: usize,
        /// How many of them hold WebAssembly.
        wasm: usize,
    },
    /// An artifact of another kind, or one pushed without a WebAssembly media type.
    #[error(
        "image {digest} is an artifact without configuration whose layers are {found}, and none \
         says that it is WebAssembly; push it as `FILE.wasm:application/wasm` (`oras push` takes \
         the media type behind the file)"
    )]
    NotWasm {
        /// The manifest.
        digest: Digest,
        /// The media types of its layers.
        found: String,
    },
    /// More than one locked application.
    #[error("image {digest} has {found} layers with a Spin application; it must be one")]
    Applications {
        /// The manifest.
        digest: Digest,
        /// How many were found.
        found: usize,
    },
}

impl Image {
    /// Reads the manifest and the configuration, and determines the kind.
    ///
    /// # Errors
    ///
    /// [`ImageError`] where a blob is damaged or too large, or the layers do not form an
    /// image.
    pub fn read(blobs: &dyn Blobs, descriptor: &Descriptor) -> Result<Self, ImageError> {
        let media_type = descriptor.media_type.as_str();
        let known = ["", media::MANIFEST, media::DOCKER_MANIFEST].contains(&media_type);
        if !known {
            return Err(ImageError::NotAManifest {
                digest: descriptor.digest,
                media_type: shown(media_type),
            });
        }
        let bytes =
            read_whole(blobs, descriptor, Limits::JSON, "a manifest").map_err(|source| {
                ImageError::Blob {
                    what: "image manifest",
                    source,
                }
            })?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|source| ImageError::Json {
                digest: descriptor.digest,
                source,
            })?;
        if manifest.schema_version != SCHEMA_VERSION {
            return Err(ImageError::NotAManifest {
                digest: descriptor.digest,
                media_type: format!("schema version {}", manifest.schema_version),
            });
        }
        let kind = Kind::of(&manifest, descriptor.digest)?;
        let limit = match kind {
            Kind::SpinConfig => Limits::LOCKED,
            _ => Limits::JSON,
        };
        let config =
            read_whole(blobs, &manifest.config, limit, "a configuration").map_err(|source| {
                ImageError::Blob {
                    what: "image configuration",
                    source,
                }
            })?;
        Ok(Self {
            descriptor: descriptor.clone(),
            manifest,
            config,
            kind,
        })
    }
}

impl Image {
    /// The environment variables that the image's program starts with. Artifacts whose
    /// configuration is not an image configuration have none.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.execution(ImageConfig::environment)
    }

    /// The image's entrypoint with its arguments; empty where it has none.
    pub fn command(&self) -> Vec<String> {
        self.execution(ImageConfig::command)
    }

    fn execution<T: Default>(&self, read: impl Fn(&ImageConfig) -> T) -> T {
        let config = serde_json::from_slice(&self.config);
        config.map(|config| read(&config)).unwrap_or_default()
    }
}

impl Kind {
    fn of(manifest: &Manifest, digest: Digest) -> Result<Self, ImageError> {
        let with = |media_type: &str| {
            let media_type = media_type.to_owned();
            let layers = manifest.layers.iter();
            layers.filter(move |layer| layer.media_type == media_type)
        };
        let locked: Vec<_> = with(media::SPIN_APPLICATION).collect();
        match locked.as_slice() {
            [] => {}
            [locked] => {
                return Ok(Self::Spin {
                    locked: (*locked).clone(),
                });
            }
            several => {
                return Err(ImageError::Applications {
                    digest,
                    found: several.len(),
                });
            }
        }
        if manifest.config.media_type == media::SPIN_APPLICATION {
            return Ok(Self::SpinConfig);
        }
        let wasm = with(media::WASM).count() + with(media::SPIN_WASM).count();
        if let ([layer], 1) = (manifest.layers.as_slice(), wasm) {
            return Ok(Self::Component {
                layer: layer.clone(),
            });
        }
        let for_wasm = manifest.config.media_type == media::WASM_CONFIG
            || WASM_LAYERS.iter().any(|kind| with(kind).next().is_some());
        if for_wasm {
            return Err(ImageError::WasmLayers {
                digest,
                layers: manifest.layers.len(),
                wasm,
            });
        }
        // An ordinary image needs a configuration; containerd does not run it without one.
        let without = [media::EMPTY, media::UNKNOWN_CONFIG];
        if without.contains(&manifest.config.media_type.as_str()) {
            let found = manifest.layers.iter();
            return Err(ImageError::NotWasm {
                digest,
                found: listed(found.map(|layer| format!("`{}`", shown(&layer.media_type)))),
            });
        }
        Ok(Self::RootFs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(config: &str, layers: &[&str]) -> Result<Kind, ImageError> {
        let descriptor = |media_type: &str| Descriptor::of(media_type, media_type.as_bytes());
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            media_type: None,
            config: descriptor(config),
            layers: layers.iter().map(|layer| descriptor(layer)).collect(),
            annotations: Default::default(),
        };
        Kind::of(&manifest, Digest::of(b""))
    }

    const TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    #[test]
    fn kinds_are_told_by_their_media_types() {
        let spin = kind(media::CONFIG, &[media::SPIN_WASM, media::SPIN_APPLICATION]);
        assert!(matches!(spin, Ok(Kind::Spin { .. })));
        let old = kind(
            media::SPIN_APPLICATION,
            &[media::SPIN_WASM, media::SPIN_DATA],
        );
        assert!(matches!(old, Ok(Kind::SpinConfig)));
        let both = kind(media::SPIN_APPLICATION, &[media::SPIN_APPLICATION]);
        assert!(matches!(both, Ok(Kind::Spin { .. })));
        for config in [media::WASM_CONFIG, media::CONFIG] {
            let component = kind(config, &[media::WASM]);
            assert!(matches!(component, Ok(Kind::Component { .. })));
        }
        assert!(matches!(kind(media::CONFIG, &[TAR, TAR]), Ok(Kind::RootFs)));
        assert!(matches!(kind(media::CONFIG, &[]), Ok(Kind::RootFs)));
    }

    #[test]
    fn a_component_image_has_one_layer() {
        for layers in [&[media::WASM; 2][..], &[media::WASM, TAR], &[]] {
            let error = kind(media::WASM_CONFIG, layers).unwrap_err();
            let ImageError::WasmLayers { layers: found, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(found, layers.len());
        }
        let error = kind(media::CONFIG, &[media::SPIN_DATA]).unwrap_err();
        assert!(error.to_string().contains("no Spin application"), "{error}");
    }

    #[test]
    fn an_artifact_without_media_types_is_told_how_to_push() {
        let tar = "application/vnd.oci.image.layer.v1.tar";
        for config in [media::EMPTY, media::UNKNOWN_CONFIG] {
            let error = kind(config, &[tar, "text/html"]).unwrap_err().to_string();
            assert!(error.contains(&format!("`{tar}`, `text/html`")), "{error}");
            assert!(error.contains("FILE.wasm:application/wasm"), "{error}");
            assert!(matches!(
                kind(config, &[media::WASM]),
                Ok(Kind::Component { .. })
            ));
        }
    }

    #[test]
    fn two_applications_in_one_image_are_refused() {
        let error = kind(media::CONFIG, &[media::SPIN_APPLICATION; 2]).unwrap_err();
        assert!(matches!(error, ImageError::Applications { found: 2, .. }));
    }
}
