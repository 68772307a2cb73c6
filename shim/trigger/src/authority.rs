//! Who a request is for: its authority, from the URI and the `Host` header.

use http::HeaderMap;
use http::header::HOST;
use http::uri::Authority;

/// A request whose authority is not clear. Its connection is closed (its stream
/// reset, in HTTP/2), as nothing that is answered could be trusted by a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the request has no host")]
    Missing,
    #[error("the request names two hosts")]
    Differing,
    #[error("the request's host is not one")]
    Invalid,
}

/// The last `Host` of a connection. Clients send the same one again and again, so
/// that it is parsed once a connection.
#[derive(Debug, Default)]
pub(crate) struct LastHost(Option<Known>);

#[derive(Debug)]
struct Known {
    authority: Authority,
    internal: bool,
}

impl LastHost {
    /// The authority of a request, and whether it came with a `Host` of its own. The
    /// header is removed where it is a name for chained requests.
    pub(crate) fn resolve(
        &mut self,
        uri: Option<&Authority>,
        headers: &mut HeaderMap,
    ) -> Result<(Authority, bool), Refused> {
        let Some(host) = headers.get(HOST) else {
            return uri.map(|uri| (uri.clone(), false)).ok_or(Refused::Missing);
        };
        let known = match &self.0 {
            Some(known) if known.authority.as_str().as_bytes() == host.as_bytes() => known,
            _ => {
                let authority =
                    Authority::try_from(host.as_bytes()).map_err(|_| Refused::Invalid)?;
                let internal = is_internal(&authority);
                &*self.0.insert(Known {
                    authority,
                    internal,
                })
            }
        };
        if known.internal {
            headers.remove(HOST);
            return uri.map(|uri| (uri.clone(), false)).ok_or(Refused::Missing);
        }
        if uri.is_some_and(|uri| *uri != known.authority) {
            return Err(Refused::Differing);
        }
        Ok((known.authority.clone(), true))
    }
}

/// `<component>.spin.internal`, with or without a port.
pub(crate) fn is_internal(authority: &Authority) -> bool {
    const SUFFIX: &[u8] = b".spin.internal";
    let host = authority.host().as_bytes();
    host.len() > SUFFIX.len() && host[host.len() - SUFFIX.len()..].eq_ignore_ascii_case(SUFFIX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(
        uri: Option<&'static str>,
        host: Option<&'static str>,
        expected: Result<(&str, bool), Refused>,
    ) {
        let uri = uri.map(Authority::from_static);
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, HeaderValue::from_static(host));
        }
        let mut last = LastHost::default();
        for _ in 0..2 {
            let found = last.resolve(uri.as_ref(), &mut headers.clone());
            let found = found
                .as_ref()
                .map(|(authority, has_host)| (authority.as_str(), *has_host));
            assert_eq!(
                found,
                expected.as_ref().map(|found| *found),
                "{uri:?} {host:?}"
            );
        }
    }

    #[test]
    fn authority_comes_from_the_uri_or_the_host() {
        check(None, Some("example.com:80"), Ok(("example.com:80", true)));
        check(Some("example.com"), None, Ok(("example.com", false)));
        check(
            Some("example.com"),
            Some("EXAMPLE.com"),
            Ok(("EXAMPLE.com", true)),
        );
    }

    #[test]
    fn unclear_authority_is_refused() {
        check(None, None, Err(Refused::Missing));
        check(None, Some(""), Err(Refused::Invalid));
        check(None, Some("a b"), Err(Refused::Invalid));
        check(Some("a"), Some("b"), Err(Refused::Differing));
        check(Some("a"), Some("a:80"), Err(Refused::Differing));
    }

    #[test]
    fn names_for_chaining_do_not_count_from_outside() {
        check(None, Some("a.spin.internal"), Err(Refused::Missing));
        check(None, Some("a.spin.internal:80"), Err(Refused::Missing));
        check(
            Some("example.com"),
            Some("a.Spin.internal"),
            Ok(("example.com", false)),
        );
        check(None, Some(".spin.internal"), Ok((".spin.internal", true)));
        check(
            None,
            Some("a.spin.internal.com"),
            Ok(("a.spin.internal.com", true)),
        );
    }

    #[test]
    fn a_new_host_on_the_same_connection_is_noticed() {
        let mut last = LastHost::default();
        for host in ["a", "b", "a"] {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            let (authority, _) = last.resolve(None, &mut headers).unwrap();
            assert_eq!(authority, host);
        }
    }
}
