//! Requests to a server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use skiff_host::{HttpBody, HttpCall, HttpClient, HttpError, MOST_RESULT, Timeouts};
use skiff_manifest::hosts::Host;
use skiff_manifest::runtime::{Secret, ServiceUrl};

use crate::protocol::Answer;

/// The most bytes of an answer.
const MOST_BYTES: usize = MOST_RESULT;

/// Where requests are sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    tls: bool,
    host: Host,
    port: u16,
    /// Of the protocol's endpoint.
    path: String,
}

impl Target {
    fn new(url: &ServiceUrl) -> Result<Self, String> {
        let url = url.expose();
        let tls = url.scheme() == "https";
        let host = Host::parse(url.host_str().unwrap_or_default());
        Ok(Target {
            tls,
            host: host.map_err(|_| "its host is neither a name nor an address".to_owned())?,
            port: url.port().unwrap_or(if tls { 443 } else { 80 }),
            path: format!("{}/v3/pipeline", url.path().trim_end_matches('/')),
        })
    }
}

/// Why a server did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It does not know the stream, so it has done nothing.
    NoStream(String),
    /// All else.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoStream(text) | Failure::Other(text) => f.write_str(text),
        }
    }
}

pub(crate) struct Server {
    client: Arc<dyn HttpClient>,
    target: Target,
    token: HeaderValue,
    /// Who asks, for the client's own log.
    name: Arc<str>,
}

impl Server {
    pub(crate) fn new(
        label: &str,
        url: &ServiceUrl,
        token: &Secret,
        client: Arc<dyn HttpClient>,
    ) -> Result<Self, String> {
        let token = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        let mut token = token.map_err(|_| "its token cannot be sent".to_owned())?;
        token.set_sensitive(true);
        Ok(Server {
            client,
            target: Target::new(url)?,
            token,
            name: format!("database `{label}`").into(),
        })
    }

    /// Where the server says that a stream is. It must not be without TLS if the server
    /// itself has it: the token goes there.
    pub(crate) fn elsewhere(&self, url: &str) -> Result<Target, Failure> {
        let other = |why: String| Failure::Other(format!("its `base_url` {why}"));
        let url = ServiceUrl::parse(url, &["http", "https"]).map_err(other)?;
        let target = Target::new(&url).map_err(Failure::Other)?;
        match self.target.tls && !target.tls {
            true => Err(other("is without TLS".to_owned())),
            false => Ok(target),
        }
    }

    /// Sends a body and reads the answer.
    pub(crate) async fn ask(&self, at: Option<&Target>, body: Vec<u8>) -> Result<Answer, Failure> {
        let target = at.unwrap_or(&self.target);
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(target.path.as_str())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(AUTHORIZATION, self.token.clone())
            .body(body.boxed_unsync())
            .map_err(|_| Failure::Other("its URL cannot be used".to_owned()))?;
        let answer = self.client.send(HttpCall {
            component: Arc::clone(&self.name),
            tls: target.tls,
            host: target.host.clone(),
            port: target.port,
            // Whoever has configured it may reach it.
            unblocked: true,
            request,
            // The whole call has its limit.
            timeouts: Timeouts {
                connect: Duration::MAX,
                first_byte: Duration::MAX,
                between_bytes: Duration::MAX,
            },
        });
        let (head, body) = answer.await.map_err(of_exchange)?.into_parts();
        let status = head.status.as_u16();
        match head.status {
            StatusCode::OK => Answer::read(&whole(body).await?),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Other(format!(
                "access is denied (status {status})"
            ))),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Err(Failure::NoStream(format!(
                "it answered with status {status}"
            ))),
            _ => Err(Failure::Other(format!("it answered with status {status}"))),
        }
    }
}

async fn whole(mut body: HttpBody) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(of_exchange)?.into_data() else {
            continue;
        };
        if bytes.len() + piece.len() > MOST_BYTES {
            let why = format!("its answer has more than {MOST_BYTES} bytes");
            return Err(Failure::Other(why));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn of_exchange(error: HttpError) -> Failure {
    Failure::Other(match error {
        HttpError::ConnectionRefused => "the connection is refused".to_owned(),
        HttpError::DnsError { .. } => "its name is not known".to_owned(),
        HttpError::DnsTimeout => "no name server answers".to_owned(),
        HttpError::TlsProtocolError => {
            "there is no TLS with it; the log of Skiff has the reason".to_owned()
        }
        HttpError::HttpProtocolError => "its answer breaks off, or is no HTTP".to_owned(),
        error => format!("{error:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::new(&ServiceUrl::parse(url, &["http", "https"]).unwrap()).unwrap()
    }

    #[test]
    fn the_protocols_path_follows_that_of_the_url() {
        for (url, tls, port, path) in [
            ("http://db", false, 80, "/v3/pipeline"),
            ("https://db/a/b/", true, 443, "/a/b/v3/pipeline"),
            ("https://[::1]:8080", true, 8080, "/v3/pipeline"),
        ] {
            let target = target(url);
            assert_eq!((target.tls, target.port, &*target.path), (tls, port, path));
        }
    }
}
