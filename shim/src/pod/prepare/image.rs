//! Determines which image a container was created from.
//!
//! containerd's CRI names an image by the digest of its configuration, so artifacts with
//! the same configuration are a single image to it: it creates their containers from the
//! first one it lists. The reference written by the pod's owner decides here. If
//! containerd does not pass it on, the container is refused, so that it never serves an
//! application that was not asked for.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use skiff_artifact::{
    Blobs, Choice, ChoiceError, Descriptor, Digest, Image, Kind, Manifest, read_whole,
};

/// Registries also refuse larger manifests.
const MAX_MANIFEST: u64 = 4 << 20;

/// What containerd knows of images.
pub(super) trait Images: Blobs {
    /// All images, by name.
    fn all(&self) -> anyhow::Result<Vec<(String, Descriptor)>>;

    /// The manifests whose configuration is `config`.
    fn with_config(&self, config: Digest) -> anyhow::Result<Vec<Digest>>;

    /// Whether a blob is there.
    fn has(&self, descriptor: &Descriptor) -> bool;

    /// The store as plain blobs.
    fn blobs(&self) -> &dyn Blobs;
}

/// What containerd records about a container's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The image that its record names.
    pub(super) record: String,
    /// What that name refers to.
    pub(super) target: Descriptor,
    /// Who chose the name.
    pub(super) by: NamedBy,
}

/// Who chose an image's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NamedBy {
    /// The caller that created the container: the record is what was asked for.
    Caller,
    /// The pod's owner, with this reference; the record is containerd's guess.
    Pod(String),
    /// containerd alone, from the digest of a configuration.
    Nobody,
}

/// Reads the image of a container.
///
/// # Errors
/// If it cannot be read, or it is ambiguous which image it is.
pub(super) fn read(images: &dyn Images, named: &Named) -> anyhow::Result<Image> {
    if let Some(target) = another_name(images, named)? {
        return Ok(Image::read(images.blobs(), &manifest(images, &target)?)?);
    }
    let guess = manifest(images, &named.target)
        .with_context(|| format!("cannot use image `{}`", named.record))?;
    let config = config_of(images, &guess)?;
    let mut sharing = BTreeSet::from_iter(images.with_config(config)?);
    sharing.insert(guess.digest);
    if sharing.len() == 1 || named.by == NamedBy::Caller {
        return Ok(Image::read(images.blobs(), &guess)?);
    }
    let mut known = Vec::new();
    for (name, target) in images.all()? {
        // Other images do not concern this container, even if they are broken.
        if let Ok(manifest) = manifest(images, &target)
            && sharing.contains(&manifest.digest)
        {
            known.push((name, target, manifest));
        }
    }
    let distinct: BTreeSet<_> = known.iter().map(|(_, _, one)| one.digest).collect();
    if distinct.len() < 2 {
        return Ok(Image::read(images.blobs(), &guess)?);
    }
    if let NamedBy::Pod(reference) = &named.by {
        let (name, digest) = normalized(reference);
        let meant = known.iter().find(|(known, target, manifest)| {
            *known == name
                || digest.is_some_and(|digest| [target.digest, manifest.digest].contains(&digest))
        });
        if let Some((_, _, manifest)) = meant {
            return Ok(Image::read(images.blobs(), manifest)?);
        }
    }
    // Ordinary images with the same configuration have the same files.
    let ordinary = |(_, _, manifest): &(String, Descriptor, Descriptor)| {
        Image::read(images.blobs(), manifest).is_ok_and(|image| image.kind == Kind::RootFs)
    };
    if known.iter().all(ordinary) {
        return Ok(Image::read(images.blobs(), &guess)?);
    }
    let mut names: Vec<_> = distinct
        .iter()
        .map(|digest| {
            let of =
                |(_, _, manifest): &&(String, Descriptor, Descriptor)| manifest.digest == *digest;
            // The CRI also keeps each image under its configuration's digest.
            let names = || known.iter().filter(of).map(|(name, _, _)| name);
            let name = names().find(|name| !name.starts_with("sha256:"));
            let name = name.or_else(|| names().next()).cloned();
            format!("`{}`", name.unwrap_or_else(|| digest.to_string()))
        })
        .collect();
    names.sort();
    bail!(
        "images {} have the same configuration ({config}), so containerd takes them for one image, \
         and it does not say which of them this container is of: push them with configurations \
         that differ, as `skiff push` does{}",
        names.join(" and "),
        match named.by {
            NamedBy::Nobody => "; containerd 2 says which",
            _ => "",
        }
    )
}

/// What the pod's reference refers to, if the record names the same image differently: a
/// Linux image has a name of its own, besides that of an index that lists it.
fn another_name(images: &dyn Images, named: &Named) -> anyhow::Result<Option<Descriptor>> {
    let NamedBy::Pod(reference) = &named.by else {
        return Ok(None);
    };
    let (name, digest) = normalized(reference);
    if name == named.record || digest == Some(named.target.digest) {
        return Ok(None);
    }
    let is_named =
        |(known, target): &(String, Descriptor)| *known == name || digest == Some(target.digest);
    let Some((_, target)) = images.all()?.into_iter().find(is_named) else {
        return Ok(None);
    };
    let all = |target| -> anyhow::Result<BTreeSet<Digest>> {
        let manifests = choose(images, |choice| choice.all(std::slice::from_ref(target)))?;
        Ok(manifests.iter().map(|manifest| manifest.digest).collect())
    };
    // A name may refer to something else by now.
    let is_same = !all(&target)?.is_disjoint(&all(&named.target)?);
    Ok(is_same.then_some(target))
}

/// Follows indexes to the manifest that exists on the node.
fn manifest(images: &dyn Images, target: &Descriptor) -> anyhow::Result<Descriptor> {
    choose(images, |choice| {
        choice.manifest(std::slice::from_ref(target))
    })
}

fn choose<T>(
    images: &dyn Images,
    choose: impl FnOnce(Choice<'_>) -> Result<T, ChoiceError>,
) -> anyhow::Result<T> {
    Ok(choose(Choice {
        blobs: images.blobs(),
        has: &|descriptor| images.has(descriptor),
        wanted: None,
    })?)
}

fn config_of(images: &dyn Images, manifest: &Descriptor) -> anyhow::Result<Digest> {
    let bytes = read_whole(images.blobs(), manifest, MAX_MANIFEST, "a manifest")
        .context("cannot read the image manifest")?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .with_context(|| format!("manifest {} cannot be understood", manifest.digest))?;
    Ok(manifest.config.digest)
}

/// A reference as containerd names images: with the registry and a tag, or with only the
/// digest if it has one.
fn normalized(reference: &str) -> (String, Option<Digest>) {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    let (registry, path) = match rest.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        _ => ("docker.io", rest),
    };
    let registry = match registry {
        "index.docker.io" => "docker.io",
        registry => registry,
    };
    let library = match registry == "docker.io" && !path.contains('/') {
        true => "library/",
        false => "",
    };
    let slash = path.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match path[slash..].find(':') {
        Some(colon) => (&path[..slash + colon], Some(&path[slash + colon + 1..])),
        None => (path, None),
    };
    let end = match (digest, tag) {
        (Some(digest), _) => format!("@{digest}"),
        (None, tag) => format!(":{}", tag.unwrap_or("latest")),
    };
    (
        format!("{registry}/{library}{repository}{end}"),
        digest.and_then(|digest| digest.parse().ok()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_artifact::{BlobError, media};
    use std::collections::BTreeMap;
    use std::io::Read;

    /// Images by name, and blobs by digest.
    #[derive(Default)]
    struct Node {
        images: BTreeMap<String, Descriptor>,
        blobs: BTreeMap<Digest, Vec<u8>>,
        configs: BTreeMap<Digest, Vec<Digest>>,
    }

    impl Node {
        fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
            let descriptor = Descriptor::of(media_type, bytes);
            self.blobs.insert(descriptor.digest, bytes.to_vec());
            descriptor
        }

        fn image(&mut self, name: &str, config: &str, layer: (&str, &str)) -> Digest {
            let config = self.blob(media::CONFIG, config.as_bytes());
            let layer = self.blob(layer.0, layer.1.as_bytes());
            let manifest = serde_json::json!({
                "schemaVersion": 2, "config": config, "layers": [layer]
            });
            let manifest = self.blob(media::MANIFEST, manifest.to_string().as_bytes());
            let sharing = self.configs.entry(config.digest).or_default();
            sharing.push(manifest.digest);
            let digest = manifest.digest;
            self.images.insert(name.to_owned(), manifest);
            digest
        }

        fn read(&self, record: &str, by: NamedBy) -> anyhow::Result<Digest> {
            let named = Named {
                record: record.to_owned(),
                target: self.images[record].clone(),
                by,
            };
            read(self, &named).map(|image| image.descriptor.digest)
        }
    }

    impl Images for Node {
        fn all(&self) -> anyhow::Result<Vec<(String, Descriptor)>> {
            Ok(self.images.clone().into_iter().collect())
        }

        fn with_config(&self, config: Digest) -> anyhow::Result<Vec<Digest>> {
            Ok(self.configs.get(&config).cloned().unwrap_or_default())
        }

        fn has(&self, descriptor: &Descriptor) -> bool {
            self.blobs.contains_key(&descriptor.digest)
        }

        fn blobs(&self) -> &dyn Blobs {
            self
        }
    }

    impl Blobs for Node {
        fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, BlobError> {
            let digest = descriptor.digest;
            let blob = self.blobs.get(&digest);
            let blob = blob.ok_or(BlobError::Missing { digest })?;
            Ok(Box::new(blob.as_slice()))
        }
    }

    const A: &str = "docker.io/local/a:1";
    const B: &str = "docker.io/local/b:1";

    fn pod(reference: &str) -> NamedBy {
        NamedBy::Pod(reference.to_owned())
    }

    #[test]
    fn of_artifacts_with_one_configuration_the_named_one_is_read() {
        let mut node = Node::default();
        let a = node.image(A, "{}", (media::WASM, "a"));
        let b = node.image(B, "{}", (media::WASM, "b"));
        node.images.insert(
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".to_owned(),
            node.images[B].clone(),
        );
        let by_digest = format!("local/b@{b}");
        for reference in ["local/b:1", B, &by_digest] {
            assert_eq!(node.read(A, pod(reference)).unwrap(), b, "{reference}");
            assert_eq!(node.read(B, pod(reference)).unwrap(), b, "{reference}");
        }
        assert_eq!(node.read(B, pod(A)).unwrap(), a);
        assert_eq!(node.read(B, NamedBy::Caller).unwrap(), b);
        for by in [NamedBy::Nobody, pod("local/c:1")] {
            let error = node.read(A, by).unwrap_err().to_string();
            assert!(
                error.contains(&format!("images `{A}` and `{B}`")),
                "{error}"
            );
            assert!(error.contains("skiff push"), "{error}");
        }
    }

    #[test]
    fn an_index_is_read_by_its_name_where_its_linux_image_has_another() {
        let mut node = Node::default();
        let linux = node.image(
            A,
            r#"{"os":"linux"}"#,
            ("application/vnd.oci.image.layer.v1.tar", "a"),
        );
        let wasm = node.image("unused", "{}", (media::WASM, "b"));
        let listed = |digest: Digest, platform: serde_json::Value| {
            let mut entry = serde_json::to_value(
                node.images
                    .values()
                    .find(|image| image.digest == digest)
                    .unwrap(),
            )
            .unwrap();
            entry["platform"] = platform;
            entry
        };
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [
            listed(linux, serde_json::json!({ "os": "linux", "architecture": "amd64" })),
            listed(wasm, serde_json::json!({ "os": "wasip1", "architecture": "wasm" })),
        ]});
        let index = node.blob(media::INDEX, index.to_string().as_bytes());
        node.images.remove("unused");
        node.images.insert(B.to_owned(), index.clone());
        let by_digest = format!("local/b@{}", index.digest);
        for reference in ["local/b:1", &by_digest] {
            assert_eq!(node.read(A, pod(reference)).unwrap(), wasm, "{reference}");
            assert_eq!(node.read(B, pod(reference)).unwrap(), wasm, "{reference}");
        }
        assert_eq!(node.read(A, pod(A)).unwrap(), linux);
        // The tag of the index was moved to something else since.
        node.image(B, "{\"other\":1}", (media::WASM, "c"));
        assert_eq!(node.read(A, pod(B)).unwrap(), linux);
    }

    #[test]
    fn two_names_of_one_artifact_are_no_question() {
        let mut node = Node::default();
        let a = node.image(A, "{}", (media::WASM, "a"));
        node.image(B, "{}", (media::WASM, "a"));
        assert_eq!(node.read(A, NamedBy::Nobody).unwrap(), a);
    }

    #[test]
    fn what_is_left_of_an_image_that_was_removed_is_no_question() {
        let mut node = Node::default();
        let a = node.image(A, "{}", (media::WASM, "a"));
        node.image(B, "{}", (media::WASM, "b"));
        node.images.remove(B);
        assert_eq!(node.read(A, NamedBy::Nobody).unwrap(), a);
    }

    #[test]
    fn ordinary_images_with_one_configuration_are_the_same() {
        let mut node = Node::default();
        let tar = "application/vnd.oci.image.layer.v1.tar";
        let a = node.image(A, r#"{"os":"linux"}"#, (tar, "a"));
        node.image(B, r#"{"os":"linux"}"#, (tar, "b"));
        assert_eq!(node.read(A, NamedBy::Nobody).unwrap(), a);
    }

    #[test]
    fn references_are_written_as_containerd_writes_names() {
        let digest = Digest::of(b"");
        for (reference, name) in [
            ("shop", "docker.io/library/shop:latest"),
            ("shop:2", "docker.io/library/shop:2"),
            ("me/shop", "docker.io/me/shop:latest"),
            ("index.docker.io/me/shop", "docker.io/me/shop:latest"),
            ("localhost/shop", "localhost/shop:latest"),
            ("ghcr.io/me/shop:2", "ghcr.io/me/shop:2"),
            ("127.0.0.1:5000/shop", "127.0.0.1:5000/shop:latest"),
            ("127.0.0.1:5000/a/shop:3", "127.0.0.1:5000/a/shop:3"),
        ] {
            assert_eq!(normalized(reference), (name.to_owned(), None));
        }
        let both = format!("ghcr.io/shop:1@{digest}");
        let name = format!("ghcr.io/shop@{digest}");
        assert_eq!(normalized(&both), (name, Some(digest)));
    }
}
