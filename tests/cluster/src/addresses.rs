//! The addresses in a cluster of the run's own: all IPv4, or all IPv6.

/// The addresses of one family.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// Kubernetes's name of the family.
    pub(crate) family: &'static str,
    /// The node's address, which is that of its bridge.
    pub(crate) node: &'static str,
    /// The range of pods; the node is in it.
    pub(crate) pods: &'static str,
    /// The range of Services.
    pub(crate) services: &'static str,
    /// The Service that leads to the API server.
    pub(crate) server: &'static str,
    /// The Service that leads to the name server.
    pub(crate) names: &'static str,
    /// The range of all addresses.
    pub(crate) all: &'static str,
}

/// The ranges of most clusters.
pub(crate) const V4: Addresses = Addresses {
    family: "IPv4",
    node: "10.88.0.1",
    pods: "10.88.0.0/16",
    services: "10.96.0.0/16",
    server: "10.96.0.1",
    names: "10.96.0.10",
    all: "0.0.0.0/0",
};

/// The ranges that EKS can be set to use.
pub(crate) const V6: Addresses = Addresses {
    family: "IPv6",
    node: "fd00:10:88::1",
    pods: "fd00:10:88::/64",
    // The API server accepts no larger range.
    services: "fd00:10:96::/112",
    server: "fd00:10:96::1",
    names: "fd00:10:96::a",
    all: "::/0",
};
