//! The grant of outbound HTTP: where a component may send requests, and on which way they
//! go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use skiff_manifest::hosts::{AllowedHost, AllowedScheme, Host, chained_component};
use wasmtime_wasi::runtime::spawn;
use wasmtime_wasi_http::RequestOptions;

use super::client::{HttpAnswer, HttpBody, HttpCall, HttpClient, HttpError, Neighbours, Timeouts};
use super::origin::{Depth, Origin};

/// The name for the application itself, as requests of WASI need one.
pub(super) const ONESELF: &str = "self.alt";

/// How many requests may lead to each other inside an application. Each holds an instance
/// until the last one is answered.
const DEEPEST: u32 = 16;

/// Where a component may send HTTP requests, and what sends them.
#[derive(Debug, Clone)]
pub struct Outbound(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    component: Arc<str>,
    hosts: Vec<AllowedHost>,
    ways: Option<Ways>,
    /// The origin that was allowed last: most components call one after the other.
    last: Mutex<Option<Allowed>>,
}

/// An origin, as a request names it, and where it leads to.
#[derive(Debug)]
struct Allowed {
    tls: bool,
    authority: Authority,
    target: Target,
}

/// What sends a component's requests.
#[derive(Debug, Clone)]
pub struct Ways {
    /// Sends them to other machines.
    pub client: Arc<dyn HttpClient>,
    /// Takes those for other components of the application; `None` if the component is not
    /// called over HTTP, and then their names are names like any other.
    pub neighbours: Option<Arc<dyn Neighbours>>,
    /// The longest that any part of a request may take.
    pub patience: Duration,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Machine { tls: bool, host: Host, port: u16 },
    Neighbour(String),
    Oneself,
}

impl Outbound {
    /// Nothing is allowed.
    pub fn none(component: &Arc<str>) -> Self {
        Outbound(Arc::new(Inner {
            component: Arc::clone(component),
            hosts: Vec::new(),
            ways: None,
            last: Mutex::default(),
        }))
    }

    /// Allows a component what the entries of its `allowed_outbound_hosts` allow over HTTP.
    pub fn new(
        component: &Arc<str>,
        hosts: impl IntoIterator<Item = AllowedHost>,
        ways: Ways,
    ) -> Self {
        let over_http = hosts.into_iter().filter(|host| match &host.scheme {
            AllowedScheme::Any => true,
            AllowedScheme::Named(scheme) => matches!(scheme.as_str(), "http" | "https"),
        });
        let hosts: Vec<_> = over_http.collect();
        Outbound(Arc::new(Inner {
            component: Arc::clone(component),
            ways: (!hosts.is_empty()).then_some(ways),
            hosts,
            last: Mutex::default(),
        }))
    }

    /// Whether any request is allowed.
    pub(crate) fn is_granted(&self) -> bool {
        self.0.ways.is_some()
    }

    /// Sends a request of a guest. It is under way whether or not its answer is polled.
    ///
    /// # Errors
    /// If it may not be sent; then nothing has happened.
    pub(super) fn send(
        &self,
        origin: &Origin,
        mut request: http::Request<HttpBody>,
        options: Option<RequestOptions>,
    ) -> Result<HttpAnswer, HttpError> {
        let (ways, target) = self.target_of(request.uri())?;
        origin.trace(request.headers_mut());
        let timeouts = ways.timeouts(options);
        let (tls, host, port, unblocked) = match target {
            Target::Machine { tls, host, port } => (tls, host, port, false),
            Target::Neighbour(component) => {
                // Not inside the caller's instance: one of WASI 0.3 cannot run in another.
                let answer = ways.chain(&component, origin.depth, request)?;
                return Ok(Box::pin(spawn(answer)));
            }
            Target::Oneself => {
                let component = &self.0.component;
                let (host, port) = ways.to_oneself(component, origin.depth, &mut request)?;
                (false, host, port, true)
            }
        };
        request.headers_mut().remove(HOST);
        Ok(ways.client.send(HttpCall {
            component: Arc::clone(&self.0.component),
            tls,
            host,
            port,
            unblocked,
            request,
            timeouts,
        }))
    }

    /// The component that a request is for, if it is allowed and does not exist.
    pub(super) fn missing_neighbour<'a>(
        &self,
        scheme: &Scheme,
        authority: &'a str,
    ) -> Option<&'a str> {
        let (name, _) = authority.split_once(':').unwrap_or((authority, ""));
        let component = chained_component(name)?;
        let neighbours = self.0.ways.as_ref()?.neighbours.as_ref()?;
        let host = Host::parse(name).ok()?;
        let tls = *scheme == Scheme::HTTPS;
        let port = authority.parse::<Authority>().ok()?.port_u16();
        let port = port.unwrap_or_else(|| default_port(tls));
        (self.allows(tls, &host, port) && !neighbours.has(component)).then_some(component)
    }

    fn allows(&self, tls: bool, host: &Host, port: u16) -> bool {
        let allows = |entry: &AllowedHost| entry.allows_host(scheme(tls), host, port);
        self.0.hosts.iter().any(allows)
    }

    fn target_of(&self, uri: &Uri) -> Result<(&Ways, Target), HttpError> {
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(HttpError::HttpRequestUriInvalid),
        };
        let authority = uri.authority().ok_or(HttpError::HttpRequestUriInvalid)?;
        self.target(tls, authority)
    }

    fn target(&self, tls: bool, authority: &Authority) -> Result<(&Ways, Target), HttpError> {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(ways), Some(last)) = (&self.0.ways, &*last)
            && (last.tls, &last.authority) == (tls, authority)
        {
            return Ok((ways, last.target.clone()));
        }
        let (ways, target) = self.find_target(tls, authority)?;
        *last = Some(Allowed {
            tls,
            authority: authority.clone(),
            target: target.clone(),
        });
        Ok((ways, target))
    }

    fn find_target(&self, tls: bool, authority: &Authority) -> Result<(&Ways, Target), HttpError> {
        let name = authority.host();
        // Spin's SDK for Rust gives a URL without a host the authority `:80`.
        if name == ONESELF || name.is_empty() {
            let own = |scheme| self.0.hosts.iter().any(|entry| entry.allows_self(scheme));
            return match &self.0.ways {
                Some(ways) if own("http") || own("https") => Ok((ways, Target::Oneself)),
                _ => Err(self.deny(&"http://self")),
            };
        }
        let host = Host::parse(name).map_err(|_| HttpError::HttpRequestUriInvalid)?;
        let port = port(authority, tls)?;
        let Some(ways) = self
            .0
            .ways
            .as_ref()
            .filter(|_| self.allows(tls, &host, port))
        else {
            return Err(match &host {
                Host::Domain(name) if name == "self" => self.deny_self(),
                _ => self.deny(&Shown { tls, host, port }),
            });
        };
        let target = match (&ways.neighbours, chained_component(name)) {
            (Some(_), Some(component)) => Target::Neighbour(component.to_owned()),
            _ => Target::Machine { tls, host, port },
        };
        Ok((ways, target))
    }

    /// Tells the operator which entry would allow a request.
    #[cold]
    fn deny(&self, entry: &dyn fmt::Display) -> HttpError {
        tracing::warn!(component_id = %self.0.component, "Outbound request denied: to allow it, add \"{entry}\" to the component's allowed_outbound_hosts");
        HttpError::HttpRequestDenied
    }

    /// `self` is a name in entries alone: as a host it would be another machine's.
    #[cold]
    fn deny_self(&self) -> HttpError {
        tracing::warn!(component_id = %self.0.component, "Outbound request denied: the host `self` is not this application; send the request to a URL that is a path, or to the host `{ONESELF}`, and add \"http://self\" to the component's allowed_outbound_hosts");
        HttpError::HttpRequestDenied
    }
}

impl Ways {
    fn timeouts(&self, options: Option<RequestOptions>) -> Timeouts {
        let within =
            |asked: Option<Duration>| asked.map_or(self.patience, |asked| asked.min(self.patience));
        let options = options.unwrap_or_default();
        Timeouts {
            connect: within(options.connect_timeout),
            first_byte: within(options.first_byte_timeout),
            between_bytes: within(options.between_bytes_timeout),
        }
    }

    fn chain(
        &self,
        component: &str,
        depth: Depth,
        mut request: http::Request<HttpBody>,
    ) -> Result<HttpAnswer, HttpError> {
        let depth = deeper(component, depth)?;
        let neighbours = self.neighbours.as_ref();
        let neighbours = neighbours.ok_or(HttpError::DestinationUnavailable)?;
        request.extensions_mut().insert(depth);
        Ok(neighbours.call(component, request))
    }

    /// Changes a request into one to where this machine reaches the application itself.
    fn to_oneself(
        &self,
        component: &str,
        depth: Depth,
        request: &mut http::Request<HttpBody>,
    ) -> Result<(Host, u16), HttpError> {
        let neighbours = self.neighbours.as_ref();
        let found = neighbours.and_then(|oneself| Some((oneself, oneself.own_address()?)));
        let (oneself, address) = found.ok_or(HttpError::HttpRequestUriInvalid)?;
        oneself
            .mark()
            .set(deeper(component, depth)?, request.headers_mut());
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Host::Ipv4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => Host::Ipv6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(ip) => Host::Ipv4(ip),
            IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        *request.uri_mut() = at(request.uri(), &host, address.port());
        Ok((host, address.port()))
    }
}

/// The depth of a request to the application that this one leads to.
fn deeper(component: &str, Depth(depth): Depth) -> Result<Depth, HttpError> {
    if depth < DEEPEST {
        return Ok(Depth(depth + 1));
    }
    tracing::warn!(
        component_id = component,
        "Request inside the application denied: {DEEPEST} others led to it, which looks like a loop"
    );
    Err(HttpError::LoopDetected)
}

/// The same URI at an address.
fn at(uri: &Uri, host: &Host, port: u16) -> Uri {
    let authority = Authority::try_from(format!("{host}:{port}")).ok();
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = authority;
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// The port of an authority. One that is no number is a mistake, and not absent.
fn port(authority: &Authority, tls: bool) -> Result<u16, HttpError> {
    match (authority.port_u16(), authority.port()) {
        (Some(port), _) => Ok(port),
        (None, None) if !has_port(authority) => Ok(default_port(tls)),
        _ => Err(HttpError::HttpRequestUriInvalid),
    }
}

fn has_port(authority: &Authority) -> bool {
    let text = authority.as_str();
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    host.len() > authority.host().len()
}

/// An entry that allows exactly one origin.
struct Shown {
    tls: bool,
    host: Host,
    port: u16,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", scheme(self.tls), self.host)?;
        if self.port != default_port(self.tls) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
