//! Servers on free ports of this machine, and requests to them.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use skiff_backend_http::{Client, Settings};
use skiff_host::{HttpBody, HttpCall, HttpClient as _, HttpError, Timeouts};
use skiff_manifest::hosts::Host;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything here takes, so that a hang is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A response that a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) body: String,
}

pub(crate) fn timeouts() -> Timeouts {
    Timeouts {
        connect: PATIENCE,
        first_byte: PATIENCE,
        between_bytes: PATIENCE,
    }
}

pub(crate) fn body(text: &str) -> HttpBody {
    let body = Full::new(Bytes::from(text.to_owned()));
    body.map_err(|never| match never {}).boxed_unsync()
}

/// A request to `http://` or `https://` with a host and a port.
pub(crate) fn call(url: &str) -> HttpCall {
    let uri: http::Uri = url.parse().unwrap();
    let tls = uri.scheme_str() == Some("https");
    HttpCall {
        component: "test".into(),
        tls,
        host: Host::parse(uri.host().unwrap()).unwrap(),
        port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        unblocked: false,
        request: Request::builder().uri(uri).body(body("")).unwrap(),
        timeouts: timeouts(),
    }
}

/// Sends a request and reads the whole response.
pub(crate) async fn send(client: &Client, call: HttpCall) -> Result<Got, HttpError> {
    let whole = async {
        let response = client.send(call).await?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Got { status, body })
    };
    let whole = tokio::time::timeout(PATIENCE, whole).await;
    whole.expect("nobody waits for ever")
}

pub(crate) async fn get(client: &Client, url: &str) -> Result<Got, HttpError> {
    send(client, call(url)).await
}

/// The error code of `wasi:http`, by its name in Rust.
pub(crate) fn code(result: Result<Got, HttpError>) -> String {
    let text = format!("{:?}", result.expect_err("an error"));
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

pub(crate) fn client() -> Client {
    Client::new(Settings::default())
}

/// A server that reads the head of each request, and writes the same bytes each time.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// Writes `answer` to each request; closes the connection after it where `closes`.
    pub(crate) async fn start(answer: impl Into<Vec<u8>>, closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let requests = Arc::<AtomicUsize>::default();
        let answer: Arc<[u8]> = answer.into().into();
        let counts = (Arc::clone(&connections), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counts.0.fetch_add(1, SeqCst);
                let (answer, requests) = (Arc::clone(&answer), Arc::clone(&counts.1));
                tokio::spawn(async move {
                    while read_head(&mut stream).await.is_some() {
                        requests.fetch_add(1, SeqCst);
                        let _ = stream.write_all(&answer).await;
                        if closes {
                            return;
                        }
                    }
                });
            }
        });
        Server {
            address,
            connections,
            requests,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Connections and requests so far.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.connections.load(SeqCst), self.requests.load(SeqCst))
    }
}

/// The head of a request; `None` if the client has gone.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}
