//! A small HTTP client: one connection per request, no pool, whole bodies.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// How long any answer may take: longer than a first start of the largest sample in a
/// debug build.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What can go wrong with one request.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is invalid, or lacks host or port.
    #[error("`{url}` is not a URL with host and port")]
    Url {
        /// The given value.
        url: String,
    },
    /// Nothing listens there.
    #[error("cannot connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The connection ended before the answer did.
    #[error("no complete answer from {address}")]
    Exchange {
        /// Host and port.
        address: String,
        /// The client's error.
        source: hyper::Error,
    },
    /// The answer took too long.
    #[error("no answer from {address} within {} s", ANSWER_WITHIN.as_secs())]
    TooLate {
        /// Host and port.
        address: String,
    },
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, all of it.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text, empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// The protocol of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    One,
    /// HTTP/2 with prior knowledge.
    Two,
}

/// GET over HTTP/1.1.
///
/// # Errors
///
/// When no complete answer comes in time; a status is never an error.
pub async fn get(url: &str) -> Result<Reply, HttpError> {
    send(Protocol::One, Method::GET, url, &[], Bytes::new()).await
}

/// Sends one request on a new connection. Its host is that of the URL, unless a header is
/// `host`.
///
/// # Errors
///
/// When no complete answer comes in time; a status is never an error.
pub async fn send(
    protocol: Protocol,
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Reply, HttpError> {
    let bad = || HttpError::Url {
        url: url.to_owned(),
    };
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let address = uri.authority().ok_or_else(bad)?.to_string();
    let target = match protocol {
        Protocol::One => uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned(),
        Protocol::Two => url.to_owned(),
    };
    let mut request = Request::builder().method(method).uri(target);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", &address);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).map_err(|_| bad())?;
    let exchange = exchange(protocol, &address, request);
    tokio::time::timeout(ANSWER_WITHIN, exchange)
        .await
        .map_err(|_| HttpError::TooLate {
            address: address.clone(),
        })?
}

/// Sends requests until the answer is 200 or `limit` is over, and returns the last answer
/// or error. It tries about every millisecond, so that it can time a start.
///
/// # Errors
///
/// The last error, when there was no answer.
pub async fn get_until_ok(url: &str, limit: Duration) -> Result<Reply, HttpError> {
    const AGAIN: Duration = Duration::from_millis(1);
    let end = Instant::now() + limit;
    loop {
        let last = get(url).await;
        if last
            .as_ref()
            .is_ok_and(|reply| reply.status == StatusCode::OK)
            || Instant::now() > end
        {
            return last;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn exchange(
    protocol: Protocol,
    address: &str,
    request: Request<Full<Bytes>>,
) -> Result<Reply, HttpError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| HttpError::Connect {
            address: address.to_owned(),
            source,
        })?;
    let failed = |source| HttpError::Exchange {
        address: address.to_owned(),
        source,
    };
    let stream = TokioIo::new(stream);
    // The task ends with its connection, which ends with this function, because nothing
    // else holds its sender.
    let answer = match protocol {
        Protocol::One => {
            let (mut sender, wire) = hyper::client::conn::http1::handshake(stream)
                .await
                .map_err(failed)?;
            tokio::spawn(wire);
            sender.send_request(request).await
        }
        Protocol::Two => {
            let (mut sender, wire) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .map_err(failed)?;
            tokio::spawn(wire);
            sender.send_request(request).await
        }
    };
    let (head, body) = answer.map_err(failed)?.into_parts();
    let body = body.collect().await.map_err(failed)?.to_bytes();
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body,
    })
}
