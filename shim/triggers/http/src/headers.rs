//! The headers that a guest gets: the client's, without those not meant for guests, and
//! those that the trigger adds.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use http::Uri;
use http::header::{
    CONNECTION, COOKIE, Entry, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
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

/// Up to this many client headers are inserted into a copy of the route's template. With
/// more, the template's are inserted among the client's: each insertion costs a hash.
const FEW: usize = 6;

/// The headers every guest gets, with the values that depend on the route alone. Those that
/// depend on the request come first and are empty here: [`SpinHeaders::add`] fills them in.
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

/// The result of one scan over all headers of a request.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Scan {
    spin: bool,
    connection: bool,
    cookies: bool,
    coding: Coding,
}

/// How a request's body is transferred.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As plain bytes.
    #[default]
    Plain,
    /// In chunks.
    Chunked,
    /// Chunked twice, which is not allowed.
    Twice,
    /// With an unknown coding.
    Unknown,
}

impl Scan {
    /// Scans every header once.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let mut scan = Scan::default();
        let mut has_cookie = false;
        for (name, value) in headers {
            scan.spin |= name.as_str().starts_with("spin-");
            scan.connection |= *name == CONNECTION;
            if *name == COOKIE {
                scan.cookies |= has_cookie;
                has_cookie = true;
            }
            if *name == TRANSFER_ENCODING {
                scan.coding = scan.coding.and(value);
            }
        }
        scan
    }

    pub(crate) fn coding(self) -> Coding {
        self.coding
    }

    /// Removes headers that guests do not get, and those that a client could forge. `join`
    /// says that a cookie may be split into several fields, as in HTTP/2.
    pub(crate) fn clean(self, headers: &mut HeaderMap, join: bool) {
        if self.connection {
            remove_connection(headers);
        }
        if self.cookies && join {
            join_cookies(headers);
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

impl Coding {
    /// Adds one more field. HTTP/1 is parsed by then, so the last coding is `chunked`.
    fn and(self, value: &HeaderValue) -> Self {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|coding| !coding.is_empty())
            .fold(self, |before, coding| {
                match (before, coding.eq_ignore_ascii_case(b"chunked")) {
                    (Coding::Plain, true) => Coding::Chunked,
                    (Coding::Chunked | Coding::Twice, true) => Coding::Twice,
                    (Coding::Unknown, _) | (_, false) => Coding::Unknown,
                }
            })
    }
}

/// Removes what is meant for this connection only (RFC 9110, 7.6.1): `Connection`, and
/// everything it names.
fn remove_connection(headers: &mut HeaderMap) {
    let Entry::Occupied(connection) = headers.entry(CONNECTION) else {
        return;
    };
    let (_, values) = connection.remove_entry_mult();
    let values: Vec<HeaderValue> = values.collect();
    for option in values
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
    {
        let option = option.trim_ascii();
        if let Ok(name) = HeaderName::from_bytes(option) {
            headers.remove(name);
        }
    }
}

/// Joins all parts into one field (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Valid values joined by two characters are a valid value.
    if let Ok(whole) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// The `spin-*` headers of a request, not created yet.
#[derive(Debug, Clone)]
pub(crate) struct SpinHeaders {
    pub(crate) route: Arc<RouteHeaders>,
    /// Whether the request came with a `Host` that guests may see.
    pub(crate) has_host: bool,
}

impl SpinHeaders {
    /// Adds the headers to those of the request that they belong to.
    ///
    /// # Errors
    /// If the request has so many headers that no more can be added.
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
            // A map without removals keeps the order of insertion.
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
    // Nearly always the path already has the slashes around it.
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
    // Addresses consist of digits, letters and punctuation.
    HeaderValue::try_from(peer.to_string()).unwrap_or(HeaderValue::from_static(""))
}
