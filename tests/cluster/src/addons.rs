//! The usual add-ons of a cluster, as processes of the node: DNS and metrics, behind
//! Services as if they were pods; and, while a case needs it, an enforcer of
//! NetworkPolicies. [`Operators`] are add-ons that run as pods.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use serde_json::{Value, json};
use skiff_test_support::tools;

use crate::addresses::Addresses;
use crate::control::NODE_NAME;
use crate::identity::Identity;
use crate::operators::Operators;
use crate::places::write;
use crate::program::Line;

/// Where the name server listens; its Service has the usual port.
const DNS_PORT: u16 = 1053;

/// Where the metrics server listens.
const METRICS_PORT: u16 = 4443;

/// The programs.
#[derive(Debug, Clone)]
pub(crate) struct Addons {
    coredns: PathBuf,
    metrics_server: PathBuf,
    kube_router: PathBuf,
    operators: Operators,
}

impl Addons {
    /// Finds them, and builds those that are missing.
    ///
    /// # Errors
    ///
    /// When one cannot be built.
    pub(crate) fn find() -> anyhow::Result<Self> {
        Ok(Self {
            coredns: tools::coredns()?,
            metrics_server: tools::metrics_server()?,
            kube_router: tools::kube_router()?,
            operators: Operators::find()?,
        })
    }

    /// The add-ons that run as long as the cluster does.
    ///
    /// # Errors
    ///
    /// When a configuration cannot be written.
    pub(crate) fn of_every_cluster(
        &self,
        identity: &Identity,
        addresses: &Addresses,
        folder: &Path,
    ) -> anyhow::Result<[Line; 2]> {
        Ok([
            coredns(&self.coredns, identity, addresses, folder)?,
            metrics_server(&self.metrics_server, identity, addresses, folder),
        ])
    }

    /// The add-ons that run as pods, for as long as a case needs them.
    pub(crate) fn operators(&self) -> &Operators {
        &self.operators
    }

    /// kube-router, only to enforce NetworkPolicies. It is for IPv4: version 2.1 has no
    /// rule that lets IPv6 pods find their neighbours.
    pub(crate) fn policy_keeper(&self, identity: &Identity, addresses: &Addresses) -> Line {
        let kubeconfig = format!("--kubeconfig={}", identity.kubeconfig("admin").display());
        let name = format!("--hostname-override={NODE_NAME}");
        let services = format!("--service-cluster-ip-range={}", addresses.services);
        let args = [
            &kubeconfig,
            &name,
            &services,
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-loadbalancer=false",
        ];
        Line::new("kube-router", &self.kube_router, &args)
    }
}

/// Removes the jumps to kube-router's rules. It leaves them when it ends, so that they
/// hold while it restarts.
///
/// # Errors
///
/// When the rules cannot be read or changed.
pub(crate) fn forget_policies() -> anyhow::Result<()> {
    const WAYS: &str =
        "iptables -S | grep -e '-j KUBE-ROUTER-' | sed 's/^-A/-D/' | xargs -L 1 iptables";
    let done = Command::new("sh").args(["-ec", WAYS]).output()?;
    let told = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{WAYS}: {}", told.trim());
    Ok(())
}

/// CoreDNS for the names of Services and pods.
///
/// # Errors
///
/// When its configuration cannot be written.
fn coredns(
    program: &Path,
    identity: &Identity,
    addresses: &Addresses,
    folder: &Path,
) -> anyhow::Result<Line> {
    let config = format!(
        ".:{DNS_PORT} {{\n  bind {}\n  errors\n  \
         kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {}\n    pods insecure\n  }}\n  \
         cache 5\n}}\n",
        addresses.node,
        identity.kubeconfig("admin").display()
    );
    let path = folder.join("Corefile");
    write(&path, &config)?;
    let path = path.display().to_string();
    Ok(Line::new("coredns", program, &["-conf", &path]))
}

/// metrics-server, which queries kubelet as often as it is allowed to.
fn metrics_server(
    program: &Path,
    identity: &Identity,
    addresses: &Addresses,
    folder: &Path,
) -> Line {
    let kubeconfig = identity.kubeconfig("admin").display().to_string();
    let flag = |name: &str| format!("--{name}={kubeconfig}");
    let args = [
        flag("kubeconfig"),
        flag("authentication-kubeconfig"),
        flag("authorization-kubeconfig"),
        format!("--secure-port={METRICS_PORT}"),
        format!("--bind-address={}", addresses.node),
        format!("--cert-dir={}", folder.join("metrics-server").display()),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        // kubelet signs its certificate itself.
        "--kubelet-insecure-tls".to_owned(),
        "--metric-resolution=10s".to_owned(),
        "--kubelet-request-timeout=5s".to_owned(),
    ];
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Line::new("metrics-server", program, &args)
}

/// The Services of the usual add-ons, and the API that the metrics server adds.
pub(crate) fn manifests(addresses: &Addresses) -> Value {
    let dns = [
        ("dns", 53, DNS_PORT, "UDP"),
        ("dns-tcp", 53, DNS_PORT, "TCP"),
    ];
    let metrics = [("https", 443, METRICS_PORT, "TCP")];
    let mut items = Vec::new();
    items.extend(service(addresses, "kube-dns", Some(addresses.names), &dns));
    items.extend(service(addresses, "metrics-server", None, &metrics));
    items.push(json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": { "name": "v1beta1.metrics.k8s.io" },
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": true,
            "service": { "namespace": "kube-system", "name": "metrics-server" },
        },
    }));
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// A Service and its one endpoint, which is the node.
fn service(
    addresses: &Addresses,
    name: &str,
    address: Option<&str>,
    ports: &[(&str, u16, u16, &str)],
) -> [Value; 2] {
    let outer: Vec<_> = ports
        .iter()
        .map(|(name, port, target, protocol)| {
            json!({ "name": name, "port": port, "targetPort": target, "protocol": protocol })
        })
        .collect();
    let inner: Vec<_> = ports
        .iter()
        .map(|(name, _, target, protocol)| {
            json!({ "name": name, "port": target, "protocol": protocol })
        })
        .collect();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": "kube-system" },
        "spec": { "clusterIP": address, "ports": outer },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "kube-system",
            "labels": { "kubernetes.io/service-name": name },
        },
        "addressType": addresses.family,
        "endpoints": [{ "addresses": [addresses.node], "conditions": { "ready": true } }],
        "ports": inner,
    });
    [service, slice]
}
