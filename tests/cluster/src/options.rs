//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Starts a Kubernetes of its own, or takes one that is there, and proves on it what Skiff
/// promises.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
pub(crate) struct Options {
    /// Only install, run one application, and uninstall.
    #[arg(long)]
    pub(crate) short: bool,
    /// Print the names of the cases and end.
    #[arg(long)]
    pub(crate) list: bool,
    /// The program that is under test, by default the one of this build.
    /// Figures want a release build.
    #[arg(long, value_name = "FILE")]
    pub(crate) skiff: Option<PathBuf>,
    /// Put the handler into containerd's configuration by hand instead of
    /// having Helm and the installer do it.
    #[arg(long)]
    pub(crate) by_hand: bool,
    /// A cluster of IPv6 and nothing else. No NetworkPolicy is kept in it.
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Run on the cluster that this file leads to, which does not have Skiff yet, instead of
    /// one of the run's own. Nodes, pods and Services have to be reached from here, and
    /// nodes reach loopback of here, as on the node itself. Cases that need a node of
    /// the run's own are left out.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["by_hand", "ipv6"])]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A value of the chart that the cluster wants, as for `helm install --set`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) values: Vec<String>,
    /// Keep the cluster after the last case until interrupted, for a person
    /// who wants to look at it.
    #[arg(long)]
    pub(crate) pause: bool,
    /// Run only cases whose names hold one of these.
    #[arg(value_name = "CASE")]
    pub(crate) cases: Vec<String>,
}
