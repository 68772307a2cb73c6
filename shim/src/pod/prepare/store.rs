//! containerd's stores of containers, images and content, over its socket.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, anyhow};
use containerd_client::services::v1::{
    GetContainerRequest, GetImageRequest, InfoRequest, ListContentRequest, ListImagesRequest,
    ReadContentRequest, ReadContentResponse,
};
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::{Code, Request, Status, Streaming};
use serde::Deserialize;
use skiff_artifact::{BlobError, Blobs, Descriptor, Digest};
use tokio::runtime::{Builder, Runtime};

use super::image::{Images, Named, NamedBy};

/// A connection to containerd, in one of its namespaces.
pub(super) struct Store {
    runtime: Runtime,
    client: containerd_client::Client,
    namespace: MetadataValue<Ascii>,
}

impl Store {
    /// Connects to containerd.
    ///
    /// # Errors
    /// If nothing listens at `socket`.
    pub(super) fn connect(socket: &Path, namespace: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot set up the connection to containerd")?;
        let client = runtime
            .block_on(containerd_client::Client::from_path(socket))
            .with_context(|| format!("cannot connect to containerd at `{}`", socket.display()))?;
        let namespace = namespace
            .parse()
            .with_context(|| format!("containerd's namespace `{namespace}` is not valid"))?;
        Ok(Store {
            runtime,
            client,
            namespace,
        })
    }

    /// The image of a container; `None` if it has no image.
    ///
    /// # Errors
    /// If containerd does not know the container, or no longer has its image.
    pub(super) fn image(&self, container: &str) -> anyhow::Result<Option<Named>> {
        let request = self.request(GetContainerRequest {
            id: container.to_owned(),
        });
        let found = self.runtime.block_on(self.client.containers().get(request));
        let found = found
            .map_err(|status| said(&status))
            .with_context(|| format!("cannot find container {container}"))?;
        let Some(container) = found.into_inner().container.filter(|c| !c.image.is_empty()) else {
            return Ok(None);
        };
        let name = container.image.clone();
        let request = self.request(GetImageRequest { name: name.clone() });
        let found = self.runtime.block_on(self.client.images().get(request));
        let found = found
            .map_err(|status| said(&status))
            .with_context(|| format!("cannot find image `{name}`"))?;
        let target = found.into_inner().image.and_then(|image| image.target);
        let target = target.with_context(|| format!("image `{name}` has no content"))?;
        let target =
            descriptor(&target).with_context(|| format!("image `{name}` cannot be read"))?;
        Ok(Some(Named {
            by: named_by(&container),
            record: name,
            target,
        }))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let namespace = self.namespace.clone();
        request
            .metadata_mut()
            .insert("containerd-namespace", namespace);
        request
    }
}

impl Images for Store {
    fn all(&self) -> anyhow::Result<Vec<(String, Descriptor)>> {
        let request = self.request(ListImagesRequest {
            filters: Vec::new(),
        });
        let found = self.runtime.block_on(self.client.images().list(request));
        let found = found
            .map_err(|status| said(&status))
            .context("cannot list containerd's images")?;
        let images = found.into_inner().images.into_iter();
        // A container cannot have been created from an unreadable image.
        Ok(images
            .filter_map(|image| Some((image.name, descriptor(&image.target?).ok()?)))
            .collect())
    }

    fn with_config(&self, config: Digest) -> anyhow::Result<Vec<Digest>> {
        // containerd uses these labels to keep what a manifest refers to: the first for
        // configurations of a kind that it knows, the other for all others.
        let labels = ["content.config", "content.0"];
        let filter =
            |label: &&str| format!("labels.\"containerd.io/gc.ref.{label}\"==\"{config}\"");
        let request = self.request(ListContentRequest {
            filters: labels.iter().map(filter).collect(),
        });
        let list = async {
            let mut stream = self.client.content().list(request).await?.into_inner();
            let mut found = Vec::new();
            while let Some(response) = stream.message().await? {
                let digests = response.info.iter();
                found.extend(digests.filter_map(|info| info.digest.parse::<Digest>().ok()));
            }
            Ok(found)
        };
        let found: Result<_, Status> = self.runtime.block_on(list);
        found
            .map_err(|status| said(&status))
            .context("cannot list containerd's content")
    }

    fn has(&self, descriptor: &Descriptor) -> bool {
        let request = self.request(InfoRequest {
            digest: descriptor.digest.to_string(),
        });
        self.runtime
            .block_on(self.client.content().info(request))
            .is_ok()
    }

    fn blobs(&self) -> &dyn Blobs {
        self
    }
}

fn descriptor(target: &containerd_client::types::Descriptor) -> anyhow::Result<Descriptor> {
    let digest = target.digest.parse()?;
    let size = u64::try_from(target.size).context("its size is negative")?;
    Ok(Descriptor::new(&target.media_type, digest, size))
}

/// What the CRI stores with a container in addition to containerd's own record. Its
/// record of the image is the first image with the same configuration. So is its
/// annotation if the CRI does not know the kubelet's reference (containerd 1.7).
fn named_by(container: &containerd_client::services::v1::Container) -> NamedBy {
    const METADATA: &str = "io.cri-containerd.container.metadata";

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Extension {
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Metadata {
        config: Config,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Config {
        image: Asked,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Asked {
        image: String,
        user_specified_image: String,
    }

    let Some(extension) = container.extensions.get(METADATA) else {
        return NamedBy::Caller;
    };
    let asked = serde_json::from_slice(&extension.value).map_or_else(
        |_| Asked::default(),
        |read: Extension| read.metadata.config.image,
    );
    let is_id = |text: &str| {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        text.is_empty() || digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let reference = [asked.user_specified_image, asked.image];
    match reference.into_iter().find(|text| !is_id(text)) {
        Some(reference) => NamedBy::Pod(reference),
        None => NamedBy::Nobody,
    }
}

impl Blobs for Store {
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, BlobError> {
        let digest = descriptor.digest;
        let request = self.request(ReadContentRequest {
            digest: digest.to_string(),
            offset: 0,
            size: 0,
        });
        let stream = self.runtime.block_on(self.client.content().read(request));
        let stream = stream.map_err(|status| match status.code() {
            Code::NotFound => BlobError::Missing { digest },
            _ => BlobError::Read {
                digest,
                source: into_io(&status),
            },
        })?;
        Ok(Box::new(Blob {
            runtime: &self.runtime,
            stream: stream.into_inner(),
            chunk: Vec::new(),
            read: 0,
        }))
    }
}

/// A blob read from containerd, one chunk at a time.
struct Blob<'a> {
    runtime: &'a Runtime,
    stream: Streaming<ReadContentResponse>,
    chunk: Vec<u8>,
    read: usize,
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            let next = self.runtime.block_on(self.stream.message());
            match next.map_err(|status| into_io(&status))? {
                None => return Ok(0),
                Some(response) => {
                    self.chunk = response.data;
                    self.read = 0;
                }
            }
        }
        let rest = &self.chunk[self.read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        Ok(length)
    }
}

/// containerd's own message, without the transport's part.
fn said(status: &Status) -> anyhow::Error {
    anyhow!("{}", status.message())
}

fn into_io(status: &Status) -> io::Error {
    let kind = match status.code() {
        Code::NotFound => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, status.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_client::services::v1::Container;

    fn container(metadata: Option<&str>) -> Container {
        let mut container = Container::default();
        if let Some(text) = metadata {
            let key = "io.cri-containerd.container.metadata".to_owned();
            let extension = container.extensions.entry(key).or_default();
            extension.value = text.as_bytes().to_vec();
        }
        container
    }

    fn asked(image: &str) -> NamedBy {
        named_by(&container(Some(&format!(
            r#"{{"Version":"v1","Metadata":{{"ID":"c","Config":{{"metadata":{{"name":"x"}},"image":{image}}}}}}}"#
        ))))
    }

    #[test]
    fn the_reference_of_the_pod_is_kept_beside_the_record() {
        let id = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(
            asked(&format!(
                r#"{{"image":"{id}","user_specified_image":"local/b:1"}}"#
            )),
            NamedBy::Pod("local/b:1".to_owned())
        );
        assert_eq!(
            asked(r#"{"image":"docker.io/local/b:1"}"#),
            NamedBy::Pod("docker.io/local/b:1".to_owned())
        );
        assert_eq!(asked(&format!(r#"{{"image":"{id}"}}"#)), NamedBy::Nobody);
        assert_eq!(asked("{}"), NamedBy::Nobody);
        assert_eq!(named_by(&container(Some("?"))), NamedBy::Nobody);
        assert_eq!(named_by(&container(None)), NamedBy::Caller);
    }
}
