//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Starts its own Kubernetes, or uses an existing one, and tests on it what Skiff
/// promises.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
pub(crate) struct Options {
    /// Only install, run one application, and uninstall.
    #[arg(long)]
    pub(crate) short: bool,
    /// Print the names of the cases and exit.
    #[arg(long)]
    pub(crate) list: bool,
    /// The program under test, by default the one of this build. Figures need a release
    /// build.
    #[arg(long, value_name = "FILE")]
    pub(crate) skiff: Option<PathBuf>,
    /// Put the handler into containerd's configuration by hand instead of with Helm and
    /// the installer.
    #[arg(long)]
    pub(crate) by_hand: bool,
    /// An IPv6-only cluster. NetworkPolicies are not enforced in it.
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Run on the cluster of this kubeconfig, which must not have Skiff yet, instead of
    /// one of the run's own. Nodes, pods and Services must be reachable from this
    /// machine, and this machine's loopback from the nodes, as on the node itself. Cases
    /// that need a node of the run's own are left out.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["by_hand", "ipv6"])]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A value of the chart for this cluster, as for `helm install --set`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) values: Vec<String>,
    /// Keep the cluster after the last case until interrupted, to look at it.
    #[arg(long)]
    pub(crate) pause: bool,
    /// Run only cases whose names contain one of these.
    #[arg(value_name = "CASE")]
    pub(crate) cases: Vec<String>,
}
