//! The parts of the OCI image format that artifacts use, as serialised.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::layout::{IMAGE_NAME, REF_NAME};

/// Media types.
pub mod media {
    /// An image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// Docker's equivalent.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// A list of manifests.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker's equivalent.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// The configuration of an image.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// The configuration of artifacts without one.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// The same, as older tools write it.
    pub const UNKNOWN_CONFIG: &str = "application/vnd.unknown.config.v1+json";
    /// The configuration `wkg` writes.
    pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
    /// A Spin application's locked JSON: a layer, and in artifacts of Spin 1 the config.
    pub const SPIN_APPLICATION: &str = "application/vnd.fermyon.spin.application.v1+config";
    /// A component or core module of a Spin application.
    pub const SPIN_WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
    /// One file of a Spin application.
    pub const SPIN_DATA: &str = "application/vnd.wasm.content.layer.v1+data";
    /// A folder of files of a Spin application.
    pub const SPIN_ARCHIVE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
    /// A single component.
    pub const WASM: &str = "application/wasm";
}

/// The only version of manifests and indexes.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the blob.
    #[serde(default)]
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// Its exact size in bytes.
    pub size: u64,
    /// The platform it is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// The descriptor of `bytes`.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// The name of an image, as a layout's index gives it.
    pub fn image_name(&self) -> Option<&str> {
        [IMAGE_NAME, REF_NAME]
            .iter()
            .find_map(|key| self.annotations.get(*key))
            .map(String::as_str)
    }

    /// A descriptor without platform and annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }

    /// A readable name of the blob: its file name where the title annotation gives it
    /// (`oras push` and others write it), else its digest.
    pub(crate) fn name(&self) -> String {
        /// No file name is longer, and useful ones have no control characters.
        const MAX_NAME: usize = 255;

        let title = self.annotations.get(TITLE);
        let title = title.and_then(|title| title.rsplit('/').next());
        let title = title.filter(|title| {
            let is_name = !matches!(*title, "" | "." | "..");
            let is_plain = !title.contains(|c: char| c == '\\' || c.is_control());
            is_name && is_plain && title.len() <= MAX_NAME
        });
        title.map_or_else(|| self.digest.to_string(), str::to_owned)
    }
}

/// The annotation with the name of a layer that is a single file.
const TITLE: &str = "org.opencontainers.image.title";

/// The platform an image is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, `wasm`, …
    pub architecture: String,
    /// `linux`, `wasi`, …
    pub os: String,
    /// `v7`, `v8`, … for processors with generations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Its own media type; some writers leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Its own media type; some writers leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests, or indexes of them.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

/// The members of an image configuration that matter here. Artifacts of other kinds have
/// other members, so all of these are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) config: Option<Execution>,
}

/// How an image is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Execution {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

impl ImageConfig {
    /// The entrypoint with its arguments.
    pub(crate) fn command(&self) -> Vec<String> {
        let Some(config) = &self.config else {
            return Vec::new();
        };
        let parts = [&config.entrypoint, &config.cmd];
        parts.into_iter().flatten().flatten().cloned().collect()
    }

    /// Its program's working directory.
    pub(crate) fn working_dir(&self) -> &str {
        let config = self.config.as_ref();
        let folder = config.and_then(|config| config.working_dir.as_deref());
        folder.filter(|folder| !folder.is_empty()).unwrap_or("/")
    }

    /// The environment variables its program starts with.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let config = self.config.as_ref();
        let variables = config.and_then(|config| config.env.as_ref());
        let pairs = variables.into_iter().flatten();
        pairs
            .filter_map(|variable| variable.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_called_by_its_title_or_by_its_digest() {
        let mut layer = Descriptor::of(media::WASM, b"x");
        assert_eq!(layer.name(), layer.digest.to_string());
        let mut titled = |title: &str| {
            layer.annotations.insert(TITLE.to_owned(), title.to_owned());
            layer.name()
        };
        assert_eq!(titled("build/hello.wasm"), "hello.wasm");
        for no_name in ["", "a/", "..", "two\nlines", &"x".repeat(300)] {
            assert!(titled(no_name).starts_with("sha256:"), "{no_name:?}");
        }
    }
}
