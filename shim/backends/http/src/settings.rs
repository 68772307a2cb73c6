//! What an operator may configure about outbound requests, as plain values.

use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use skiff_backend_tls::Authorities;
use skiff_manifest::hosts::BlockedNetworks;

/// Limits on requests to other machines, and the files that say how they are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Networks that nobody connects to.
    pub blocked: BlockedNetworks,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once to one host and port.
    pub connections_each: usize,
    /// Whether connections are kept for the next request.
    pub keeps: bool,
    /// How long a connection is kept for the next request.
    pub idle: Duration,
    /// The name servers, in the form of `resolv.conf`.
    pub name_servers: PathBuf,
    /// The port of name servers.
    pub name_server_port: u16,
    /// The names that need no name server, in the form of `hosts`.
    pub hosts: PathBuf,
    /// Files of further certificate authorities.
    pub authorities: Authorities,
    /// Rules for some components and hosts; the first that fits counts, instead of the
    /// files above.
    pub client_tls: Vec<ClientTls>,
    /// Connections have descriptors below this number.
    pub descriptors_below: RawFd,
    /// `host:port` that takes HTTP/2 without TLS.
    pub http2_without_tls: Option<String>,
}

impl Settings {
    /// Servers and the balancers before them usually close after a minute or more.
    pub const DEFAULT_IDLE: Duration = Duration::from_secs(30);
}

/// Whom some components trust on some hosts, and who they are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// The components.
    pub components: BTreeSet<String>,
    /// Names and addresses without ports, in lower case.
    pub hosts: BTreeSet<String>,
    /// What holds there. Its protocols are those of HTTP, whatever it says.
    pub tls: skiff_backend_tls::Settings,
}

/// No limits, and the machine's own files.
impl Default for Settings {
    fn default() -> Self {
        Settings {
            blocked: BlockedNetworks::default(),
            connections: usize::MAX,
            connections_each: usize::MAX,
            keeps: true,
            idle: Self::DEFAULT_IDLE,
            name_servers: "/etc/resolv.conf".into(),
            name_server_port: 53,
            hosts: "/etc/hosts".into(),
            authorities: Authorities::usual(),
            client_tls: Vec::new(),
            descriptors_below: RawFd::MAX,
            http2_without_tls: None,
        }
    }
}
