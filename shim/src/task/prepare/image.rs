//! Which manifest of an image is meant.

use anyhow::{Context, bail};
use skiff_artifact::{Blobs, Descriptor, Index, media, read_whole};

/// Registries refuse larger indexes, too.
const MAX_INDEX: u64 = 4 << 20;

/// How deep indexes may lie within indexes. More than one is already unusual.
const MAX_DEPTH: usize = 4;

/// Follows indexes to a manifest that the node has (containerd pulls one platform
/// of an image): that for WebAssembly, or else that for the node's own
/// architecture, or else the only one.
///
/// # Errors
/// Where an index cannot be read or has nothing that the node has.
pub(super) fn manifest(
    blobs: &dyn Blobs,
    has: impl Fn(&Descriptor) -> bool,
    image: Descriptor,
) -> anyhow::Result<Descriptor> {
    let mut descriptor = image;
    for _ in 0..MAX_DEPTH {
        if !is_index(&descriptor) {
            return Ok(descriptor);
        }
        let digest = descriptor.digest;
        let bytes = read_whole(blobs, &descriptor, MAX_INDEX, "an image index");
        let index: Index = serde_json::from_slice(&bytes.context("cannot read the image's index")?)
            .with_context(|| format!("the image's index {digest} cannot be understood"))?;
        let mut present = index.manifests;
        present.retain(&has);
        descriptor = choose(present, host_architecture()).with_context(|| {
            format!("the image's index {digest} has no manifest that was pulled")
        })?;
    }
    bail!("the image's indexes are nested more than {MAX_DEPTH} deep")
}

fn is_index(descriptor: &Descriptor) -> bool {
    [media::INDEX, media::DOCKER_INDEX].contains(&descriptor.media_type.as_str())
}

fn choose(present: Vec<Descriptor>, host: &str) -> Option<Descriptor> {
    let of = |architecture: &str| {
        let wanted = |descriptor: &&Descriptor| {
            let platform = descriptor.platform.as_ref();
            platform.is_some_and(|platform| platform.architecture == architecture)
        };
        present.iter().find(wanted).cloned()
    };
    let only = || match present.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    };
    of("wasm").or_else(|| of(host)).or_else(only)
}

/// The node's architecture as images call it.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_artifact::{BlobError, Digest, Platform};
    use std::collections::BTreeMap;
    use std::io::Read;

    /// Blobs by digest.
    #[derive(Default)]
    struct Content(BTreeMap<Digest, Vec<u8>>);

    impl Content {
        fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
            let descriptor = Descriptor::of(media_type, &bytes);
            self.0.insert(descriptor.digest, bytes);
            descriptor
        }

        fn add_index(&mut self, manifests: &[Descriptor]) -> Descriptor {
            let index = Index {
                schema_version: 2,
                media_type: None,
                manifests: manifests.to_vec(),
            };
            self.add(media::INDEX, serde_json::to_vec(&index).unwrap())
        }

        fn manifest(&self, image: &Descriptor) -> anyhow::Result<Descriptor> {
            let has = |descriptor: &Descriptor| self.0.contains_key(&descriptor.digest);
            manifest(self, has, image.clone())
        }
    }

    impl Blobs for Content {
        fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, BlobError> {
            let digest = descriptor.digest;
            let blob = self.0.get(&digest).ok_or(BlobError::Missing { digest })?;
            Ok(Box::new(blob.as_slice()))
        }
    }

    fn for_platform(mut descriptor: Descriptor, architecture: &str) -> Descriptor {
        descriptor.platform = Some(Platform {
            architecture: architecture.to_owned(),
            os: "any".to_owned(),
        });
        descriptor
    }

    fn absent(architecture: &str) -> Descriptor {
        let descriptor = Descriptor::of(media::MANIFEST, architecture.as_bytes());
        for_platform(descriptor, architecture)
    }

    fn present(content: &mut Content, architecture: &str) -> Descriptor {
        let bytes = format!("manifest for {architecture}").into_bytes();
        for_platform(content.add(media::MANIFEST, bytes), architecture)
    }

    #[test]
    fn a_manifest_is_its_own_choice() {
        let image = Descriptor::of(media::MANIFEST, b"{}");
        assert_eq!(Content::default().manifest(&image).unwrap(), image);
    }

    #[test]
    fn webassembly_wins_over_the_host_and_attestations_never_do() {
        let mut content = Content::default();
        let host = present(&mut content, host_architecture());
        let wasm = present(&mut content, "wasm");
        let attestation = present(&mut content, "unknown");
        let all = content.add_index(&[attestation.clone(), host.clone(), wasm.clone()]);
        assert_eq!(content.manifest(&all).unwrap(), wasm);
        let native = content.add_index(&[attestation, host.clone()]);
        assert_eq!(content.manifest(&native).unwrap(), host);
    }

    #[test]
    fn what_was_not_pulled_is_no_choice() {
        let mut content = Content::default();
        let other = present(&mut content, "riscv64");
        let index = content.add_index(&[absent("wasm"), other.clone()]);
        assert_eq!(content.manifest(&index).unwrap(), other);
        let nothing = content.add_index(&[absent("wasm")]);
        let error = content.manifest(&nothing).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the image's index {} has no manifest that was pulled",
                nothing.digest
            )
        );
    }

    #[test]
    fn indexes_within_indexes_end() {
        let mut content = Content::default();
        let mut image = absent("wasm");
        for _ in 0..=MAX_DEPTH {
            image = content.add_index(&[image]);
        }
        let error = content.manifest(&image).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image's indexes are nested more than 4 deep"
        );
    }

    #[test]
    fn an_index_that_is_no_json_is_named() {
        let mut content = Content::default();
        let image = content.add(media::INDEX, b"<html>".to_vec());
        let error = content.manifest(&image).unwrap_err();
        let expected = format!("the image's index {} cannot be understood", image.digest);
        assert_eq!(error.to_string(), expected);
    }
}
