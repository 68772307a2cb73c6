//! The authority of a request, from its target and the `Host` header (RFC 9110, 7.2; RFC
//! 9112, 3.2; RFC 9113, 8.3.1).

use http::header::{HOST, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Version};

/// A request without a clear authority. The response is 400, and an HTTP/1 connection is
/// closed after it, as a cache could not trust anything that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the request has no host")]
    Missing,
    #[error("the request has more than one host")]
    Many,
    #[error("the request's host and its target differ")]
    Differing,
    #[error("the request's host is not valid")]
    Invalid,
    #[error("the request's host is a name for requests inside the application")]
    Internal,
}

/// The last `Host` of a connection. Clients send the same one repeatedly, so it is checked
/// once per connection.
#[derive(Debug, Default)]
pub(crate) struct LastHost(Option<Known>);

#[derive(Debug)]
struct Known {
    authority: Authority,
    internal: bool,
}

impl LastHost {
    /// The authority of a request with the target `uri`, and whether guests see that it
    /// came with a `Host`. The header is removed if it is a name for chained requests, and
    /// replaced if the target has a different one.
    pub(crate) fn resolve(
        &mut self,
        version: Version,
        uri: Option<&Authority>,
        headers: &mut HeaderMap,
    ) -> Result<(Authority, bool), Refused> {
        let mut hosts = headers.get_all(HOST).iter();
        let (host, second) = (hosts.next(), hosts.next());
        if second.is_some() {
            return Err(Refused::Many);
        }
        match (uri, host) {
            (None, Some(host)) => {
                let known = self.check(host)?;
                if known.internal {
                    return Err(Refused::Internal);
                }
                Ok((known.authority.clone(), true))
            }
            (Some(target), host) => {
                if !is_host(target.as_str().as_bytes()) {
                    return Err(Refused::Invalid);
                }
                if version == Version::HTTP_2 {
                    self.beside_target(target, headers)
                } else {
                    Self::behind_target(version, target, host.cloned(), headers)
                }
            }
            (None, None) if version == Version::HTTP_10 => {
                Ok((Authority::from_static("localhost"), false))
            }
            (None, None) => Err(Refused::Missing),
        }
    }

    /// HTTP/2: target and header have to agree.
    fn beside_target(
        &mut self,
        target: &Authority,
        headers: &mut HeaderMap,
    ) -> Result<(Authority, bool), Refused> {
        let Some(host) = headers.get(HOST) else {
            return Ok((target.clone(), false));
        };
        let known = self.check(host)?;
        if known.internal {
            headers.remove(HOST);
            return Ok((target.clone(), false));
        }
        if *target != known.authority {
            return Err(Refused::Differing);
        }
        Ok((known.authority.clone(), true))
    }

    /// HTTP/1: the target takes precedence, but there must be a `Host`.
    fn behind_target(
        version: Version,
        target: &Authority,
        host: Option<HeaderValue>,
        headers: &mut HeaderMap,
    ) -> Result<(Authority, bool), Refused> {
        match &host {
            None if version == Version::HTTP_10 => {}
            None => return Err(Refused::Missing),
            Some(host) if host.is_empty() || is_host(host.as_bytes()) => {}
            Some(_) => return Err(Refused::Invalid),
        }
        if is_internal(target) {
            headers.remove(HOST);
            return Ok((target.clone(), false));
        }
        // Every authority is a valid header value.
        if let Ok(value) = HeaderValue::from_str(target.as_str()) {
            headers.insert(HOST, value);
        }
        Ok((target.clone(), true))
    }

    fn check(&mut self, host: &HeaderValue) -> Result<&Known, Refused> {
        let same = |known: &Known| known.authority.as_str().as_bytes() == host.as_bytes();
        if !self.0.as_ref().is_some_and(same) {
            if !is_host(host.as_bytes()) {
                return Err(Refused::Invalid);
            }
            let authority = Authority::try_from(host.as_bytes()).map_err(|_| Refused::Invalid)?;
            let internal = is_internal(&authority);
            self.0 = Some(Known {
                authority,
                internal,
            });
        }
        self.0.as_ref().ok_or(Refused::Invalid)
    }
}

/// Whether bytes are `uri-host [ ":" port ]` with a host (RFC 3986, 3.2.2; RFC 9110, 4.2
/// and 7.2): no user, no empty name, a port of digits.
fn is_host(bytes: &[u8]) -> bool {
    let (host, port) = if bytes.first() == Some(&b'[') {
        let Some(end) = bytes.iter().position(|byte| *byte == b']') else {
            return false;
        };
        let (literal, port) = (&bytes[1..end], &bytes[end + 1..]);
        let address = std::str::from_utf8(literal)
            .is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        if !address {
            return false;
        }
        match port {
            [] => return true,
            [b':', port @ ..] => (&b"v6"[..], port),
            _ => return false,
        }
    } else {
        match bytes.iter().position(|byte| *byte == b':') {
            Some(colon) => (&bytes[..colon], &bytes[colon + 1..]),
            None => (bytes, &[][..]),
        }
    };
    let number = port.iter().all(u8::is_ascii_digit);
    // A port that no connection can have is not valid.
    let fits =
        port.is_empty() || std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok());
    !host.is_empty() && number && fits && is_reg_name(host)
}

/// Unreserved characters, percent codes and sub-delimiters.
fn is_reg_name(host: &[u8]) -> bool {
    let mut rest = host;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, tail @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                tail
            }
            (byte, tail) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => {
                tail
            }
            _ => return false,
        };
    }
    true
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
        version: Version,
        uri: Option<&'static str>,
        hosts: &[&'static str],
        expected: Result<(&str, bool), Refused>,
    ) {
        let uri = uri.map(Authority::from_static);
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        let mut last = LastHost::default();
        for _ in 0..2 {
            let found = last.resolve(version, uri.as_ref(), &mut headers.clone());
            let found = found
                .as_ref()
                .map(|(authority, has_host)| (authority.as_str(), *has_host));
            assert_eq!(
                found,
                expected.as_ref().map(|found| *found),
                "{version:?} {uri:?} {hosts:?}"
            );
        }
    }

    const V10: Version = Version::HTTP_10;
    const V11: Version = Version::HTTP_11;
    const V2: Version = Version::HTTP_2;

    #[test]
    fn authority_comes_from_the_target_or_the_host() {
        check(V11, None, &["example.com:80"], Ok(("example.com:80", true)));
        check(V11, None, &["[::1]:80"], Ok(("[::1]:80", true)));
        check(V2, Some("example.com"), &[], Ok(("example.com", false)));
        check(V2, None, &["example.com"], Ok(("example.com", true)));
        check(
            V2,
            Some("example.com"),
            &["EXAMPLE.com"],
            Ok(("EXAMPLE.com", true)),
        );
    }

    #[test]
    fn the_target_wins_over_the_host_of_http_1() {
        for host in ["b", "", "x.spin.internal"] {
            check(V11, Some("a:1"), &[host], Ok(("a:1", true)));
        }
        let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("b"))]);
        let target = Authority::from_static("a:1");
        LastHost::default()
            .resolve(V11, Some(&target), &mut headers)
            .unwrap();
        assert_eq!(headers[HOST], "a:1");
        check(V10, Some("a"), &[], Ok(("a", true)));
    }

    #[test]
    fn http_1_0_needs_no_host() {
        check(V10, None, &[], Ok(("localhost", false)));
        check(V10, None, &["a"], Ok(("a", true)));
        check(V10, None, &["a b"], Err(Refused::Invalid));
        check(V10, None, &["a", "a"], Err(Refused::Many));
    }

    #[test]
    fn unclear_authority_is_refused() {
        check(V11, None, &[], Err(Refused::Missing));
        check(V11, Some("a"), &[], Err(Refused::Missing));
        check(V2, None, &[], Err(Refused::Missing));
        for version in [V11, V2] {
            check(version, None, &["a", "a"], Err(Refused::Many));
            check(version, Some("a"), &["a", "a"], Err(Refused::Many));
            check(version, Some("u@a"), &["a"], Err(Refused::Invalid));
            check(version, Some("a"), &["a b"], Err(Refused::Invalid));
        }
        check(V2, Some("a"), &["b"], Err(Refused::Differing));
        check(V2, Some("a"), &["a:80"], Err(Refused::Differing));
    }

    #[test]
    fn only_a_host_and_a_port_are_a_host() {
        for good in [
            "a",
            "a.b",
            "A-b_c~",
            "a:1",
            "a:",
            "127.0.0.1:65535",
            "[::1]",
            "[::1]:80",
            "[::1]:",
            "%41",
            "a,b",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a/b", "a?b", "u@a", "a:b", "a:1:2", "a:65536", "a:+1", "[::1",
            "[::1]x", "[a]", "::1", "%4", "%zz", "\u{e9}", "a#", "a\\b", "\"a\"",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn names_for_chaining_do_not_count_from_outside() {
        check(V11, None, &["a.spin.internal"], Err(Refused::Internal));
        check(V11, None, &["a.spin.internal:80"], Err(Refused::Internal));
        check(
            V11,
            Some("a.spin.internal"),
            &["b"],
            Ok(("a.spin.internal", false)),
        );
        check(
            V2,
            Some("example.com"),
            &["a.Spin.internal"],
            Ok(("example.com", false)),
        );
        check(V11, None, &[".spin.internal"], Ok((".spin.internal", true)));
        check(
            V11,
            None,
            &["a.spin.internal.com"],
            Ok(("a.spin.internal.com", true)),
        );
    }

    #[test]
    fn a_new_host_on_the_same_connection_is_noticed() {
        let mut last = LastHost::default();
        for host in ["a", "b", "a"] {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            let (authority, _) = last.resolve(V11, None, &mut headers).unwrap();
            assert_eq!(authority, host);
        }
    }
}
