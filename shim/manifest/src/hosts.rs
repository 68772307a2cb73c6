//! `allowed_outbound_hosts`: the grammar of an entry, and what it allows.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

pub use url::{Host, Url};

mod blocked;
mod legacy;
mod network;

pub use blocked::{BlockedNetworkError, BlockedNetworks};
pub(crate) use legacy::{Databases, convert as convert_legacy};
pub use network::Network;

/// Names with this ending refer to components of the same application.
const CHAINING_DOMAIN: &str = "spin.internal";

/// The component that a name refers to, if it is one for service chaining:
/// `<component id>.spin.internal`.
pub fn chained_component(name: &str) -> Option<&str> {
    name.strip_suffix(CHAINING_DOMAIN)?.strip_suffix('.')
}

/// One entry of `allowed_outbound_hosts`: `<scheme>://<host>[:<port>][/]`.
///
/// ```
/// use skiff_manifest::hosts::AllowedHost;
/// let entry = AllowedHost::parse("https://*.example.com").unwrap();
/// assert!(entry.allows("https", "api.example.com", 443));
/// assert!(!entry.allows("https", "example.com", 443));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// The allowed schemes.
    pub scheme: AllowedScheme,
    /// The allowed hosts.
    pub host: AllowedName,
    /// The allowed ports.
    pub port: AllowedPort,
}

/// The scheme of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedScheme {
    /// `*`.
    Any,
    /// A single scheme, compared as text.
    Named(String),
}

/// The host of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedName {
    /// `*`.
    Any,
    /// `self` or `self.alt`: only requests to the application itself.
    ToSelf,
    /// `*.domain`: every name below the domain, but not the domain itself.
    Below(String),
    /// A name or an address.
    Literal(Host),
    /// A range of addresses, `10.0.0.0/8`.
    Network(Network),
}

/// The port of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedPort {
    /// `*`.
    Any,
    /// A single port; also the scheme's default port if none is written.
    One(u16),
    /// `a..b`, without `b`, which is larger.
    Range(Range<u16>),
}

/// The components that an entry allows to call without leaving the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainingTarget<'a> {
    /// `*.spin.internal`.
    All,
    /// `<component id>.spin.internal`.
    Component(&'a str),
}

impl AllowedHost {
    /// Reads an entry. White space around it is trimmed.
    ///
    /// # Errors
    /// States which part breaks the grammar, and what is allowed there.
    pub fn parse(entry: &str) -> Result<Self, AllowedHostError> {
        let entry = entry.trim();
        if entry == "insecure:allow-all" {
            return Err(AllowedHostError::AllowAll);
        }
        let (scheme, rest) = entry.split_once("://").ok_or(AllowedHostError::NoScheme)?;
        let (host, port) = split_port(rest)?;
        Ok(AllowedHost {
            scheme: AllowedScheme::parse(scheme)?,
            port: AllowedPort::parse(port, scheme)?,
            host: AllowedName::parse(host)?,
        })
    }

    /// Whether a connection is allowed. `host` is a name or an address; IPv6 addresses
    /// are in brackets.
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        Host::parse(host).is_ok_and(|host| self.allows_host(scheme, &host, port))
    }

    /// Whether a connection to a host that was parsed before is allowed.
    pub fn allows_host(&self, scheme: &str, host: &Host, port: u16) -> bool {
        self.scheme.allows(scheme) && self.host.allows(host) && self.port.allows(port)
    }

    /// Whether some connection to this host is allowed with one of these schemes, on
    /// whatever port.
    pub fn allows_name(&self, schemes: &[&str], host: &Host) -> bool {
        schemes.iter().any(|scheme| self.scheme.allows(scheme)) && self.host.allows(host)
    }

    /// Whether a request to the application itself is allowed.
    pub fn allows_self(&self, scheme: &str) -> bool {
        self.scheme.allows(scheme) && matches!(self.host, AllowedName::Any | AllowedName::ToSelf)
    }

    /// The components that it names for service chaining, if any.
    pub fn chaining_target(&self) -> Option<ChainingTarget<'_>> {
        match &self.host {
            AllowedName::Below(domain) if domain == CHAINING_DOMAIN => Some(ChainingTarget::All),
            AllowedName::Literal(Host::Domain(name)) => {
                chained_component(name).map(ChainingTarget::Component)
            }
            _ => None,
        }
    }
}

/// Splits off the port after the scheme. A colon may belong to an IPv6 network, so the
/// whole text is tried as a network first.
fn split_port(rest: &str) -> Result<(&str, &str), AllowedHostError> {
    let Some((host, port)) = rest.rsplit_once(':') else {
        return Ok((rest, ""));
    };
    if !port.is_empty() && AllowedName::parse(rest).is_ok() {
        return Ok((rest, ""));
    }
    match port.split_once('/') {
        Some((port, "")) => Ok((host, port)),
        Some(_) => Err(beyond_a_host(rest)),
        None => Ok((host, port)),
    }
}

/// The error for a host with a slash that is not a network.
fn beyond_a_host(host: &str) -> AllowedHostError {
    match host.split_once('/') {
        Some((address, prefix))
            if address.parse::<IpAddr>().is_ok()
                && prefix.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            AllowedHostError::Host {
                host: host.to_owned(),
                reason: "a network's prefix has at most 32 bits, or 128 with IPv6".into(),
            }
        }
        _ => AllowedHostError::Path,
    }
}

impl AllowedScheme {
    fn parse(scheme: &str) -> Result<Self, AllowedHostError> {
        match scheme {
            "*" => Ok(AllowedScheme::Any),
            _ if !scheme.is_empty() && scheme.chars().all(char::is_alphabetic) => {
                Ok(AllowedScheme::Named(scheme.to_owned()))
            }
            _ => Err(AllowedHostError::Scheme {
                scheme: scheme.to_owned(),
            }),
        }
    }

    fn allows(&self, scheme: &str) -> bool {
        match self {
            AllowedScheme::Any => true,
            AllowedScheme::Named(name) => name == scheme,
        }
    }
}

impl AllowedName {
    fn parse(host: &str) -> Result<Self, AllowedHostError> {
        let host = host.trim();
        match host.strip_suffix('/').unwrap_or(host) {
            "*" => return Ok(AllowedName::Any),
            "self" | "self.alt" => return Ok(AllowedName::ToSelf),
            _ => {}
        }
        if let Some(network) = Network::parse(host) {
            return Ok(AllowedName::Network(network));
        }
        let host = host.strip_suffix('/').unwrap_or(host);
        if host.contains('/') {
            return Err(beyond_a_host(host));
        }
        let wrong = |reason: &str| AllowedHostError::Host {
            host: host.to_owned(),
            reason: reason.to_owned(),
        };
        let (below, name) = match host.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, host),
        };
        if name.contains('*') {
            return Err(wrong(
                "`*` stands alone or as the first part, `*.example.com`",
            ));
        }
        if name.starts_with('{') {
            return Err(wrong("lists are not supported; write one entry for each"));
        }
        match (
            below,
            Host::parse(name).map_err(|error| wrong(&error.to_string()))?,
        ) {
            (true, Host::Domain(domain)) => Ok(AllowedName::Below(domain)),
            (true, _) => Err(wrong("an address has no names below it")),
            (false, host) => Ok(AllowedName::Literal(host)),
        }
    }

    fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (AllowedName::Any, _) => true,
            (AllowedName::ToSelf, _) => false,
            (AllowedName::Literal(literal), _) => literal == host,
            (AllowedName::Below(domain), Host::Domain(name)) => name
                .strip_suffix(domain.as_str())
                .is_some_and(|below| below.ends_with('.')),
            (AllowedName::Network(network), Host::Ipv4(ip)) => network.contains(IpAddr::V4(*ip)),
            (AllowedName::Network(network), Host::Ipv6(ip)) => network.contains(IpAddr::V6(*ip)),
            (AllowedName::Below(_) | AllowedName::Network(_), _) => false,
        }
    }
}

impl AllowedPort {
    fn parse(port: &str, scheme: &str) -> Result<Self, AllowedHostError> {
        let number = |text: &str| {
            text.parse().map_err(|_| AllowedHostError::Port {
                port: port.to_owned(),
            })
        };
        if port.is_empty() {
            return match default_port(scheme) {
                Some(port) => Ok(AllowedPort::One(port)),
                None => Err(AllowedHostError::NoPort {
                    scheme: scheme.to_owned(),
                }),
            };
        }
        if port == "*" {
            return Ok(AllowedPort::Any);
        }
        match port.split_once("..") {
            Some((from, to)) => {
                let range = number(from)?..number(to)?;
                match range.is_empty() {
                    true => Err(AllowedHostError::NoPorts(range)),
                    false => Ok(AllowedPort::Range(range)),
                }
            }
            None => Ok(AllowedPort::One(number(port)?)),
        }
    }

    fn allows(&self, port: u16) -> bool {
        match self {
            AllowedPort::Any => true,
            AllowedPort::One(one) => *one == port,
            AllowedPort::Range(range) => range.contains(&port),
        }
    }
}

/// The default port of a scheme.
pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "mqtt" => Some(1883),
        "mysql" => Some(3306),
        "postgres" => Some(5432),
        "redis" => Some(6379),
        _ => None,
    }
}

/// Whether a resolved template contains no host at all. Such entries are skipped, so that
/// an optional host can be left blank.
pub fn is_blank(entry: &str) -> bool {
    matches!(entry, "" | "http://" | "https://")
}

/// Why a text is not an entry of `allowed_outbound_hosts`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowedHostError {
    /// Old manifests' keyword for every host.
    #[error("`insecure:allow-all` is no longer allowed; `*://*:*` allows every host")]
    AllowAll,
    /// `://` is missing.
    #[error("expected `<scheme>://<host>[:<port>]`; `*://*:*` allows every host")]
    NoScheme,
    /// Other characters than letters before `://`.
    #[error("the scheme is letters only or `*`, not {scheme:?}")]
    Scheme {
        /// The text in place of the scheme.
        scheme: String,
    },
    /// An invalid host.
    #[error("{host:?} is not a host: {reason}")]
    Host {
        /// The text in place of the host.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything other than `/` after the host.
    #[error("an allowed host has no path")]
    Path,
    /// The port is missing, and the scheme has no default.
    #[error("a port is needed, as `{scheme}` implies none; `:*` allows every port")]
    NoPort {
        /// The scheme.
        scheme: String,
    },
    /// Something other than a port after the last colon.
    #[error("the port is a number up to 65535, a range `a..b` or `*`, not {port:?}")]
    Port {
        /// The text in place of the port.
        port: String,
    },
    /// A range without a port in it.
    #[error("there is no port in the range `{}..{}`: the last port is the one before its end", .0.start, .0.end)]
    NoPorts(Range<u16>),
}

/// As in a manifest, but always with the port.
impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scheme {
            AllowedScheme::Any => f.write_str("*://")?,
            AllowedScheme::Named(name) => write!(f, "{name}://")?,
        }
        match &self.host {
            AllowedName::Any => f.write_str("*")?,
            AllowedName::ToSelf => f.write_str("self")?,
            AllowedName::Below(domain) => write!(f, "*.{domain}")?,
            AllowedName::Literal(host) => write!(f, "{host}")?,
            AllowedName::Network(network) => write!(f, "{network}")?,
        }
        match &self.port {
            AllowedPort::Any => f.write_str(":*"),
            AllowedPort::One(port) => write!(f, ":{port}"),
            AllowedPort::Range(range) => write!(f, ":{}..{}", range.start, range.end),
        }
    }
}

#[cfg(test)]
mod tests;
