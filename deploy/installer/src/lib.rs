//! Installs the shim on a node, and removes it.
//!
//! Every change of a node is first a [`plan::Plan`]: a list of small steps, each of which
//! can be shown, done and undone. [`install`] makes the plans and carries them out;
//! [`layouts`] knows where each distribution keeps things; [`config`] edits containerd's
//! configuration. The node's files are accessed through [`host::Host`], and everything
//! else through [`node::Node`], so that tests need neither root nor a node.
//!
//! [`daemon`] and [`retire`] do the same from within a cluster.

pub mod check;
pub mod cluster;
pub mod config;
pub mod cri;
pub mod daemon;
pub mod defaults;
pub mod dump;
pub mod exit;
pub mod give_back;
pub mod health;
pub mod host;
pub mod in_use;
pub mod install;
pub mod layouts;
pub mod node;
pub mod payload;
pub mod plan;
pub mod retire;
pub mod state;
pub mod systemd;
pub mod target;
pub mod upgrade;

/// The handler that pods name through their RuntimeClass.
pub const HANDLER: &str = "skiff";

/// The runtime type of the shim in containerd.
pub const RUNTIME: &str = "io.containerd.skiff.v1";

/// The file name that containerd derives from the type.
pub const SHIM: &str = "containerd-shim-skiff-v1";

/// The file under its own name.
pub const PROGRAM: &str = "skiff";
