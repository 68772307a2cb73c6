//! The headers that a guest gets: the client's, without what is not for it, and the
//! ones that the trigger adds.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use http::Uri;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};

use crate::Failure;
use crate::route::RouteHeaders;

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// Up to this many headers of a client are put into a copy of the route's template.
/// With more, the template's are put among the client's: each costs a hash.
const FEW: usize = 6;

/// What every guest gets, for the values that depend on the route alone. Those of the
/// request come first and are empty here: [`SpinHeaders::add`] fills them in.
pub(crate) fn template(
    matched: HeaderValue,
    raw: HeaderValue,
    component: HeaderValue,
) -> HeaderMap {
    let empty = || HeaderValue::from_static("");
    let mut template = HeaderMap::new();
    template.insert(PATH_INFO, empty());
    template.insert(FULL_URL, empty());
    template.insert(CLIENT_ADDR, empty());
    template.insert(MATCHED_ROUTE, matched);
    template.insert(BASE_PATH, HeaderValue::from_static("/"));
    template.insert(RAW_COMPONENT_ROUTE, raw);
    template.insert(COMPONENT_ROUTE, component);
    template
}

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
            let value = value.as_bytes();
            if !value.is_ascii() && std::str::from_utf8(value).is_err() {
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
            let pretended: Vec<_> = headers
                .keys()
                .filter(|name| name.as_str().starts_with("spin-"))
                .cloned()
                .collect();
            for name in pretended {
                headers.remove(name);
            }
        }
    }
}

/// The `spin-*` headers of a request, not yet made.
#[derive(Debug, Clone)]
pub(crate) struct SpinHeaders {
    pub(crate) route: Arc<RouteHeaders>,
    /// Whether the request came with a `Host` that it may keep.
    pub(crate) has_host: bool,
}

impl SpinHeaders {
    /// Adds the headers to those of the request that they belong to.
    ///
    /// # Errors
    /// When the request has so many headers that no more can be added.
    pub(crate) fn add(
        &self,
        uri: &Uri,
        client: HeaderValue,
        headers: &mut HeaderMap,
    ) -> Result<(), Failure> {
        let full = |error| Failure::Other(Box::new(error));
        let path = uri.path();
        let RouteHeaders {
            template,
            parameters,
            ..
        } = &*self.route;
        let captures = self.route.captures(path);
        let mut of_request =
            [path_info(path, captures.rest)?, self.full_url(uri)?, client].into_iter();
        if headers.len() <= FEW {
            let of_client = std::mem::replace(headers, template.clone());
            // A map that nothing was removed from keeps the order of insertion.
            headers
                .values_mut()
                .zip(of_request)
                .for_each(|(slot, value)| *slot = value);
            headers.extend(of_client);
        } else {
            headers.try_reserve(template.len()).map_err(full)?;
            for (name, value) in template {
                let value = of_request.next().unwrap_or_else(|| value.clone());
                headers.try_insert(name, value).map_err(full)?;
            }
        }
        for (name, range) in parameters.iter().zip(captures.parameters) {
            headers
                .try_append(name, text(&path[range])?)
                .map_err(full)?;
        }
        Ok(())
    }

    fn full_url(&self, uri: &Uri) -> Result<HeaderValue, Failure> {
        let scheme = uri.scheme_str().unwrap_or("http");
        let host = uri
            .authority()
            .filter(|_| self.has_host)
            .map_or("localhost", Authority::as_str);
        let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
        let pieces = [scheme, "://", host, path];
        let mut url = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        pieces
            .iter()
            .for_each(|piece| url.extend_from_slice(piece.as_bytes()));
        HeaderValue::from_maybe_shared(bytes::Bytes::from(url))
            .map_err(|error| Failure::Other(error.into()))
    }
}

fn path_info(path: &str, rest: Option<Range<usize>>) -> Result<HeaderValue, Failure> {
    let Some(rest) = rest else {
        return Ok(HeaderValue::from_static(""));
    };
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

fn text(value: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|error| Failure::Other(error.into()))
}

/// The value of `spin-client-addr`.
pub(crate) fn client(peer: SocketAddr) -> HeaderValue {
    // Addresses are digits, letters and punctuation.
    HeaderValue::try_from(peer.to_string()).unwrap_or(HeaderValue::from_static(""))
}
