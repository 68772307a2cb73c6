//! The headers that a guest gets: the client's, without what is not for it, and the
//! ones that the trigger adds.

use std::net::SocketAddr;

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};

use crate::Failure;
use crate::route::{Captures, RouteHeaders};

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// How many headers every guest is given.
const ADDED: usize = 7;

/// What one look at all headers of a request has found.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Scan {
    spin: bool,
    connection: bool,
    hosts: u8,
}

impl Scan {
    /// Looks at every header once.
    ///
    /// # Errors
    /// Guests take strings, so a value that is not UTF-8 fails the request.
    pub(crate) fn new(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut scan = Scan::default();
        for (name, value) in headers {
            if std::str::from_utf8(value.as_bytes()).is_err() {
                return Err(Failure::NotUtf8(name.clone()));
            }
            scan.spin |= name.as_str().starts_with("spin-");
            scan.connection |= *name == CONNECTION;
            scan.hosts = scan.hosts.saturating_add(u8::from(*name == HOST));
        }
        Ok(scan)
    }

    /// Whether the request has more than one `Host`.
    pub(crate) fn has_many_hosts(self) -> bool {
        self.hosts > 1
    }

    /// Removes what a guest does not get, and what a client could pretend.
    pub(crate) fn clean(self, headers: &mut HeaderMap) {
        if self.connection {
            headers.remove(CONNECTION);
        }
        if self.spin {
            let pretended: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("spin-")).cloned().collect();
            for name in pretended {
                headers.remove(name);
            }
        }
    }
}

/// What the added headers are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) route: &'a RouteHeaders,
    pub(crate) captures: &'a Captures,
    /// Scheme of the request, with `://`.
    pub(crate) scheme: &'a str,
    /// The request's `Host`, where it has one.
    pub(crate) host: Option<&'a Authority>,
    pub(crate) path: &'a PathAndQuery,
    pub(crate) client: &'a HeaderValue,
}

impl Facts<'_> {
    /// Adds the `spin-*` headers.
    ///
    /// # Errors
    /// When the request has so many headers that the map is full.
    pub(crate) fn add_to(self, headers: &mut HeaderMap) -> Result<(), Failure> {
        let Facts { route, captures, client, .. } = self;
        let full = |error| Failure::Other(Box::new(error));
        headers.try_reserve(ADDED + route.parameters.len()).map_err(full)?;
        headers.try_insert(PATH_INFO, self.path_info()?).map_err(full)?;
        headers.try_insert(FULL_URL, self.full_url()?).map_err(full)?;
        headers.try_insert(MATCHED_ROUTE, route.matched.clone()).map_err(full)?;
        headers.try_insert(BASE_PATH, HeaderValue::from_static("/")).map_err(full)?;
        headers.try_insert(RAW_COMPONENT_ROUTE, route.raw.clone()).map_err(full)?;
        headers.try_insert(COMPONENT_ROUTE, route.component.clone()).map_err(full)?;
        headers.try_insert(CLIENT_ADDR, client.clone()).map_err(full)?;
        for (name, range) in route.parameters.iter().zip(&captures.parameters) {
            let value = &self.path.path()[range.clone()];
            headers.try_append(name.clone(), text(value)?).map_err(full)?;
        }
        Ok(())
    }

    fn full_url(self) -> Result<HeaderValue, Failure> {
        let host = self.host.map_or("localhost", Authority::as_str);
        let pieces = [self.scheme, host, self.path.as_str()];
        let mut url = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        pieces.iter().for_each(|piece| url.extend_from_slice(piece.as_bytes()));
        HeaderValue::from_maybe_shared(bytes::Bytes::from(url)).map_err(|error| Failure::Other(error.into()))
    }

    fn path_info(self) -> Result<HeaderValue, Failure> {
        let path = self.path.path();
        let Some(rest) = self.captures.rest.clone() else { return Ok(HeaderValue::from_static("")) };
        let slash = path.ends_with('/');
        if rest.is_empty() {
            return Ok(HeaderValue::from_static(if slash { "/" } else { "" }));
        }
        // In all but odd cases the slashes stand around it in the path already.
        let end = rest.end + usize::from(slash);
        match rest.start.checked_sub(1) {
            Some(start) if path.as_bytes()[start] == b'/' => text(&path[start..end]),
            _ => text(&format!("/{}", &path[rest.start..end])),
        }
    }
}

fn text(value: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|error| Failure::Other(error.into()))
}

/// The value of `spin-client-addr`.
pub(crate) fn client(peer: SocketAddr) -> HeaderValue {
    // Addresses are digits, letters and punctuation.
    HeaderValue::try_from(peer.to_string()).unwrap_or(HeaderValue::from_static(""))
}
