//! An image registry on loopback that serves OCI layouts from disk, so that every pull of
//! the cluster is a real one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use skiff_test_support::oci::{MANIFEST, blob_name};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The header with a manifest's digest.
const DIGEST: &str = "docker-content-digest";

/// Names of images, each with the folder of its layout.
type Layouts = Arc<Mutex<HashMap<String, PathBuf>>>;

/// A running registry.
#[derive(Debug)]
pub(crate) struct Registry {
    address: String,
    /// Whether image references use its address instead of the registry they are meant to
    /// be from.
    by_address: bool,
    layouts: Layouts,
    /// Held while an image is made that several cases may need.
    making: Mutex<()>,
    serving: JoinHandle<()>,
}

impl Registry {
    /// Starts one without images, at a free port of loopback.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let layouts = Layouts::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&layouts)));
        Ok(Self {
            address,
            by_address: false,
            layouts,
            making: Mutex::default(),
            serving,
        })
    }

    /// The same for nodes without a mirror for it: loopback needs no configuration.
    pub(crate) fn named_by_address(mut self) -> Self {
        self.by_address = true;
        self
    }

    /// The reference for a pod of an image with that full name, or part of one.
    pub(crate) fn name(&self, image: &str) -> String {
        match self.by_address {
            true => format!("{}/{image}", self.address),
            false => image.to_owned(),
        }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Offers a layout under the full name of an image, with registry and tag.
    pub(crate) fn offer(&self, image: &str, layout: impl Into<PathBuf>) {
        let mut layouts = self.layouts.lock().expect("no holder of this lock panics");
        layouts.insert(image.to_owned(), layout.into());
    }

    /// Offers the layout that `make` makes under the full name of an image, unless it was
    /// offered before, and returns its reference. Concurrent cases get the same.
    ///
    /// # Errors
    ///
    /// The error of `make`.
    pub(crate) fn offer_once(
        &self,
        image: &str,
        make: impl FnOnce() -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<String> {
        let made = self.making.lock().expect("no holder of this lock panics");
        if !self.has(image) {
            self.offer(image, make()?);
        }
        drop(made);
        Ok(self.name(image))
    }

    fn has(&self, image: &str) -> bool {
        let layouts = self.layouts.lock().expect("no holder of this lock panics");
        layouts.contains_key(image)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, layouts: Layouts) {
    while let Ok((stream, _)) = listener.accept().await {
        let layouts = Arc::clone(&layouts);
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let answer = answer(&request, &layouts);
                async { Ok::<_, Infallible>(answer) }
            });
            let builder = hyper::server::conn::http1::Builder::new();
            // A client may go away.
            builder
                .serve_connection(TokioIo::new(stream), answer)
                .await
                .ok();
        });
    }
}

fn answer(request: &Request<Incoming>, layouts: &Layouts) -> Response<Full<Bytes>> {
    let head = request.method() == Method::HEAD;
    let query = request.uri().query().unwrap_or_default();
    match found(request.uri().path(), query, layouts) {
        Ok(Found { kind, digest, body }) => {
            let length = body.len();
            let body = if head { Bytes::new() } else { body.into() };
            let mut response = Response::builder()
                .header(CONTENT_TYPE, kind)
                .header(CONTENT_LENGTH, length);
            if !digest.is_empty() {
                response = response.header(DIGEST, digest);
            }
            response
                .body(Full::new(body))
                .unwrap_or_else(|error| refusal(&error.to_string()))
        }
        Err(error) => refusal(&format!("{error:#}")),
    }
}

fn refusal(text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.to_owned().into()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

struct Found {
    kind: String,
    digest: String,
    body: Vec<u8>,
}

/// The object at a path of the distribution protocol. `ns` in the query is the original
/// registry.
fn found(path: &str, query: &str, layouts: &Layouts) -> anyhow::Result<Found> {
    let layouts = layouts.lock().expect("no holder of this lock panics");
    let path = path
        .strip_prefix("/v2/")
        .context("not a path of this protocol")?;
    if path.is_empty() {
        return Ok(Found {
            kind: "application/json".into(),
            digest: String::new(),
            body: b"{}".to_vec(),
        });
    }
    let host = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("ns="))
        .unwrap_or_default();
    if let Some((name, digest)) = path.rsplit_once("/blobs/") {
        let mut mine = layouts.iter().filter(|(image, _)| is_of(image, host, name));
        let body = mine.find_map(|(_, layout)| fs::read(layout.join(blob_name(digest))).ok());
        return Ok(Found {
            kind: "application/octet-stream".into(),
            digest: digest.to_owned(),
            body: body.with_context(|| format!("{name} has no blob {digest}"))?,
        });
    }
    let (name, reference) = path.rsplit_once("/manifests/").context("neither kind")?;
    for (image, layout) in layouts.iter().filter(|(image, _)| is_of(image, host, name)) {
        if let Some(found) = manifest(layout, image, reference)? {
            return Ok(found);
        }
    }
    bail!("{host}/{name} has no manifest {reference}")
}

/// Whether an image's full name has that registry and repository, or equals the
/// repository.
fn is_of(image: &str, host: &str, name: &str) -> bool {
    let Some((repository, _)) = image.rsplit_once(':') else {
        return false;
    };
    repository == name
        || repository
            .strip_suffix(name)
            .and_then(|rest| rest.strip_suffix('/'))
            .is_some_and(|rest| host.is_empty() || rest == host)
}

/// The manifest of a layout, if the reference is its tag, or the digest of one of its
/// manifests.
fn manifest(layout: &Path, image: &str, reference: &str) -> anyhow::Result<Option<Found>> {
    let tagged = image
        .rsplit_once(':')
        .is_some_and(|(_, tag)| tag == reference);
    let digest = match tagged {
        true => {
            let bytes = fs::read(layout.join("index.json"))?;
            let index: Value = serde_json::from_slice(&bytes)?;
            // Our layouts hold one image, which may be an index itself.
            let digest = &index["manifests"][0]["digest"];
            digest.as_str().context("an empty layout")?.to_owned()
        }
        false => reference.to_owned(),
    };
    let Ok(body) = fs::read(layout.join(blob_name(&digest))) else {
        return Ok(None);
    };
    let text: Value = serde_json::from_slice(&body)?;
    let kind = text["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
    Ok(Some(Found { kind, digest, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_its_registry_and_repository() {
        let image = "docker.io/library/busybox:1.36.1";
        assert!(is_of(image, "docker.io", "library/busybox"));
        assert!(is_of(image, "", "library/busybox"));
        assert!(!is_of(image, "quay.io", "library/busybox"));
        assert!(!is_of(image, "docker.io", "busybox"));
    }
}
