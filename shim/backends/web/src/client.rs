//! The HTTP client.

use std::io;
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use skiff_host::ProviderError;
use skiff_manifest::runtime::ServiceUrl;
use ureq::http::header::LOCATION;
use ureq::http::{HeaderValue, Request, Response, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, AsSendBody, Body, Timeout};

/// How long a server may take for a small answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the server of a download may take to begin its answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The most bytes of a small answer: a secret and what its server says about it.
const MOST_BYTES: u64 = 1 << 20;

/// Redirects that a download follows. Requests with secrets follow none.
const REDIRECTS: u32 = 10;

/// Asks servers over HTTP and HTTPS. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    roots: RootCerts,
    patience: Duration,
    answer: Duration,
}

/// Certificate authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read certificates from `{}`", file.display())]
pub struct ClientError {
    file: PathBuf,
    source: io::Error,
}

impl Client {
    /// Trusts the authorities that browsers trust, or instead those of a file of PEM
    /// certificates.
    ///
    /// # Errors
    /// If the file cannot be read, or has no certificates.
    pub fn new(authorities: Option<&Path>) -> Result<Self, ClientError> {
        let roots = match authorities {
            None => RootCerts::WebPki,
            Some(file) => {
                let certificates = certificates(file);
                RootCerts::from(certificates.map_err(|source| ClientError {
                    file: file.to_owned(),
                    source,
                })?)
            }
        };
        Ok(Client {
            roots,
            patience: PATIENCE,
            answer: ANSWER,
        })
    }

    /// The same with less patience, for tests.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Client {
            patience,
            answer: patience,
            ..self
        }
    }

    /// Gives a server so long to begin its answer, and to complete it.
    fn agent(&self, begins: Duration, ends: Duration) -> Agent {
        let tls = TlsConfig::builder().root_certs(self.roots.clone()).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(ends))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(begins))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            // A pooled connection would be shared by the processes that are forked later.
            .max_idle_connections(0)
            .proxy(None)
            .build();
        Agent::with_parts(config, DefaultConnector::default(), OnThisThread)
    }

    /// An answer of any size that ends in time, following redirects.
    pub(crate) fn download(
        &self,
        url: ServiceUrl,
        limit: Duration,
    ) -> Result<Response<Body>, String> {
        let end = Instant::now() + limit;
        let mut at = url;
        for _ in 0..=REDIRECTS {
            let left = end.saturating_duration_since(Instant::now());
            let agent = self.agent(self.answer, left);
            let answer = agent.get(at.expose().as_str()).call();
            let answer = answer.map_err(|error| self.told_of_download(&error, limit))?;
            let location = answer.headers().get(LOCATION);
            match location.filter(|_| answer.status().is_redirection()) {
                Some(location) => at = redirected(&at, location)?,
                None => return Ok(answer),
            }
        }
        Err(format!("it redirects more than {REDIRECTS} times"))
    }

    /// As [`told`], with the time that there was.
    pub(crate) fn told_of_download(&self, error: &ureq::Error, limit: Duration) -> String {
        match error {
            ureq::Error::Timeout(Timeout::Connect) => format!("no connection within {CONNECT:?}"),
            ureq::Error::Timeout(Timeout::RecvResponse) => {
                format!("it did not begin to answer within {:?}", self.answer)
            }
            ureq::Error::Timeout(_) => format!("it was not complete after {limit:?}"),
            error => told(error),
        }
    }

    /// A small answer in JSON; `None` if there is nothing under the URL.
    pub(crate) fn json(
        &self,
        request: Request<impl AsSendBody>,
        server: &str,
    ) -> Result<Option<Value>, ProviderError> {
        let failed = |what: String| ProviderError(format!("{server}: {what}"));
        let agent = self.agent(self.patience, self.patience);
        let mut answer = agent.run(request).map_err(|error| failed(told(&error)))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let status = answer.status().as_u16();
                return Err(failed(format!("access is denied (status {status})")));
            }
            status => {
                let status = status.as_u16();
                return Err(failed(format!("it answered with status {status}")));
            }
        }
        let body = answer.body_mut().with_config().limit(MOST_BYTES);
        let bytes = body.read_to_vec().map_err(|error| failed(told(&error)))?;
        let json = serde_json::from_slice(&bytes);
        json.map(Some)
            .map_err(|_| failed("its answer is not JSON".to_owned()))
    }
}

/// What went wrong, without the URL: it may have more in it than is to be shown.
fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "its URL cannot be used".to_owned(),
        ureq::Error::HostNotFound => "its name is not known".to_owned(),
        ureq::Error::Timeout(_) => "it did not answer in time".to_owned(),
        ureq::Error::BodyExceedsLimit(limit) => {
            format!("its answer has more than {limit} bytes")
        }
        ureq::Error::Io(error) => skiff_backend_tls::told(error),
        error => error.to_string(),
    }
}

/// Where a redirect leads to.
fn redirected(from: &ServiceUrl, location: &HeaderValue) -> Result<ServiceUrl, String> {
    let to = location.to_str().ok();
    let to = to.and_then(|to| from.expose().join(to).ok());
    let to = to.ok_or("it redirects to what is not a URL")?;
    ServiceUrl::parse(to.as_str(), &["http", "https"]).map_err(|_| {
        let scheme = to.scheme();
        format!(
            "it redirects to `{scheme}:`, and only redirects to `http:` and `https:` are followed"
        )
    })
}

fn certificates(file: &Path) -> io::Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(file)?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(io::Error::other)? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "there is no certificate in it",
        ));
    }
    Ok(certificates)
}

/// Looks up names on the thread that asks. Another thread might be left when the process
/// forks.
#[derive(Debug)]
struct OnThisThread;

impl Resolver for OnThisThread {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let found = (host, port).to_socket_addrs();
        let mut addresses = self.empty();
        for address in found
            .map_err(|_| ureq::Error::HostNotFound)?
            .take(MOST_ADDRESSES)
        {
            addresses.push(address);
        }
        match addresses.is_empty() {
            true => Err(ureq::Error::HostNotFound),
            false => Ok(addresses),
        }
    }
}

/// How many addresses of a name are tried; the client has no room for more.
const MOST_ADDRESSES: usize = 16;
