//! Settings of requests to other machines, as plain values.

use std::path::PathBuf;
use std::time::Duration;

use skiff_manifest::hosts::BlockedNetworks;
use skiff_manifest::runtime::ClientTls;

/// As long as Spin's, which guests are written for.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(600);

/// Connections at once in each worker: more than its instances ever need, and far below
/// what the kernel has ports for.
const DEFAULT_CONNECTIONS: usize = 1024;

/// One slow host leaves three quarters to the others.
const DEFAULT_CONNECTIONS_EACH: usize = 256;

/// Limits on requests to other machines, and whom to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Networks that nobody connects to; with `None`, link-local ones in a pod.
    pub blocked: Option<BlockedNetworks>,
    /// Networks of a runtime configuration, which are blocked as well.
    pub also_blocked: BlockedNetworks,
    /// Whether connections are kept for the next request.
    pub keeps_connections: bool,
    /// The longest that a part of a request may take.
    pub patience: Duration,
    /// Connections at once in each worker.
    pub connections: usize,
    /// Connections at once to each host and port.
    pub connections_each: usize,
    /// Connections of sockets at once in each worker, from a runtime configuration.
    pub socket_connections: Option<usize>,
    /// The same of sockets and requests together.
    pub all_connections: Option<usize>,
    /// A file of certificate authorities, besides those that are built in.
    pub authorities: Option<PathBuf>,
    /// Rules of a runtime configuration for TLS, with whole paths.
    pub client_tls: Vec<ClientTls>,
    /// Folders of such files.
    pub authorities_in: Vec<PathBuf>,
    /// `host:port` that takes HTTP/2 without TLS.
    pub http2_without_tls: Option<String>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        NetworkSettings {
            blocked: None,
            also_blocked: BlockedNetworks::default(),
            keeps_connections: true,
            patience: DEFAULT_PATIENCE,
            connections: DEFAULT_CONNECTIONS,
            connections_each: DEFAULT_CONNECTIONS_EACH,
            socket_connections: None,
            all_connections: None,
            authorities: None,
            client_tls: Vec::new(),
            authorities_in: Vec::new(),
            http2_without_tls: None,
        }
    }
}
