//! containerd's stores of containers, images and content, over its socket.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, anyhow};
use containerd_client::services::v1::{
    GetContainerRequest, GetImageRequest, InfoRequest, ReadContentRequest, ReadContentResponse,
};
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::{Code, Request, Status, Streaming};
use skiff_artifact::{BlobError, Blobs, Descriptor};
use tokio::runtime::{Builder, Runtime};

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
    /// Where nothing listens at `socket`.
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
            .with_context(|| format!("containerd's namespace `{namespace}` is no header value"))?;
        Ok(Store {
            runtime,
            client,
            namespace,
        })
    }

    /// The image of a container, by name and content; none where it has no image.
    ///
    /// # Errors
    /// Where containerd knows the container not, or its image no longer.
    pub(super) fn image(&self, container: &str) -> anyhow::Result<Option<Descriptor>> {
        let request = self.request(GetContainerRequest {
            id: container.to_owned(),
        });
        let found = self.runtime.block_on(self.client.containers().get(request));
        let found = found
            .map_err(|status| said(&status))
            .with_context(|| format!("cannot find container {container}"))?;
        let name = found
            .into_inner()
            .container
            .map_or_else(String::new, |c| c.image);
        if name.is_empty() {
            return Ok(None);
        }
        let request = self.request(GetImageRequest { name: name.clone() });
        let found = self.runtime.block_on(self.client.images().get(request));
        let found = found
            .map_err(|status| said(&status))
            .with_context(|| format!("cannot find image `{name}`"))?;
        let target = found.into_inner().image.and_then(|image| image.target);
        let target = target.with_context(|| format!("image `{name}` has no content"))?;
        let digest = target.digest.parse();
        let digest = digest.with_context(|| format!("image `{name}` cannot be read"))?;
        let size = u64::try_from(target.size)
            .with_context(|| format!("image `{name}` has a negative size"))?;
        Ok(Some(Descriptor::new(&target.media_type, digest, size)))
    }

    /// Whether containerd has a blob.
    pub(super) fn has(&self, descriptor: &Descriptor) -> bool {
        let request = self.request(InfoRequest {
            digest: descriptor.digest.to_string(),
        });
        self.runtime
            .block_on(self.client.content().info(request))
            .is_ok()
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

/// A blob on its way from containerd, a chunk at a time.
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

/// containerd's own words, without the transport's.
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
