//! The hello: read from a folder, put into containerd's content store, and removed again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{DeleteContentRequest, WriteAction, WriteContentRequest};
use containerd_client::tonic::Code;
use containerd_client::tonic::transport::Channel;
use containerd_client::types::Descriptor;
use futures::TryStreamExt;
use futures::future::ready;
use futures::stream;
use serde::Deserialize;

use super::error::{gone, refused};
use super::{CheckError, inside, unreadable};

/// The file beside the layout that holds what the hello prints.
const EXPECTED: &str = "expected";

/// How much is sent at once; containerd takes messages of 16 MiB.
const CHUNK: usize = 1 << 20;

/// What can be wrong with the hello.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder is not a layout of one image.
    #[error("`{}` is not the index of a layout with one image", path.display())]
    Index {
        /// Its index.
        path: PathBuf,
        /// What is wrong, if it can be read at all.
        source: Option<serde_json::Error>,
    },
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Manifest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: String,
    digest: String,
    size: i64,
}

/// An image in a folder.
pub(super) struct Hello {
    manifest: Manifest,
    blobs: Vec<(String, PathBuf)>,
    expected: Option<String>,
}

impl Hello {
    /// Reads the index of a layout.
    pub(super) fn open(folder: &Path) -> Result<Self, HelloError> {
        let path = folder.join("index.json");
        let bytes = fs::read(&path).map_err(unreadable(&path))?;
        let index: Index = serde_json::from_slice(&bytes).map_err(|source| HelloError::Index {
            path: path.clone(),
            source: Some(source),
        })?;
        let [manifest] = <[Manifest; 1]>::try_from(index.manifests)
            .map_err(|_| HelloError::Index { path, source: None })?;
        let expected = folder.join(EXPECTED);
        let expected = match fs::read_to_string(&expected) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(&expected)(error)),
        };
        Ok(Self {
            manifest,
            blobs: blobs_of(folder)?,
            expected,
        })
    }

    /// What it prints, if that is known.
    pub(super) fn expected(&self) -> Option<&str> {
        self.expected.as_deref()
    }

    /// The digests of all its blobs.
    pub(super) fn digests(&self) -> Vec<String> {
        let digests = self.blobs.iter().map(|(digest, _)| digest.clone());
        digests.collect()
    }

    /// The image as containerd refers to it.
    pub(super) fn target(&self) -> Descriptor {
        Descriptor {
            media_type: self.manifest.media_type.clone(),
            digest: self.manifest.digest.clone(),
            size: self.manifest.size,
            annotations: HashMap::new(),
        }
    }
}

fn blobs_of(folder: &Path) -> Result<Vec<(String, PathBuf)>, HelloError> {
    let blobs = folder.join("blobs/sha256");
    let failed = unreadable(&blobs);
    let mut found = Vec::new();
    for entry in fs::read_dir(&blobs).map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        let digest = format!("sha256:{}", entry.file_name().to_string_lossy());
        found.push((digest, entry.path()));
    }
    Ok(found)
}

/// Puts all of it into the store. Each blob is its own garbage collection root, so that
/// none is collected before the image exists; the roots are removed later.
pub(super) async fn upload(channel: &Channel, hello: &Hello) -> Result<(), CheckError> {
    for (digest, path) in &hello.blobs {
        let bytes = fs::read(path).map_err(unreadable(path))?;
        let labels = HashMap::from([("containerd.io/gc.root".to_owned(), "skiff".to_owned())]);
        let begin = WriteContentRequest {
            action: WriteAction::Write as i32,
            r#ref: format!("skiff-check-{digest}"),
            total: size(bytes.len()),
            expected: digest.clone(),
            labels,
            ..WriteContentRequest::default()
        };
        let mut messages: Vec<_> = bytes
            .chunks(CHUNK)
            .scan(0, |offset, chunk| {
                let message = WriteContentRequest {
                    offset: *offset,
                    data: chunk.to_vec(),
                    ..begin.clone()
                };
                *offset += size(chunk.len());
                Some(message)
            })
            .collect();
        messages.push(WriteContentRequest {
            action: WriteAction::Commit as i32,
            offset: size(bytes.len()),
            ..begin
        });
        let mut client = ContentClient::new(channel.clone());
        let refused = refused("store the hello");
        let written = match client.write(inside(stream::iter(messages))).await {
            Ok(answers) => answers.into_inner().try_for_each(|_| ready(Ok(()))).await,
            Err(status) => Err(status),
        };
        match written {
            // Another namespace has it, so this one shares it now.
            Err(status) if status.code() == Code::AlreadyExists => {}
            written => written.map_err(refused)?,
        }
    }
    Ok(())
}

/// Removes these blobs from the store.
pub(super) async fn remove(channel: &Channel, digests: &[String]) -> Result<(), CheckError> {
    let mut client = ContentClient::new(channel.clone());
    for digest in digests {
        let digest = digest.clone();
        let removed = client.delete(inside(DeleteContentRequest { digest })).await;
        gone("remove the hello's content", removed)?;
    }
    Ok(())
}

fn size(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
