//! The shim: what containerd calls, and what becomes of a container.
//!
//! Three processes take part, all the same file. The *shim* answers containerd's calls,
//! one for each pod ([`main`]). For a container that is no Linux program it starts one
//! that *prepares*, which finds the application, answers, and ends. Then the container's
//! own process comes to be, in its namespaces and with its limits, and becomes the one
//! that *serves*. What applications are, the [`Program`] knows that this is a part of:
//! here are containerd, the OCI runtime and the node.
//!
//! | module | what is there |
//! |---|---|
//! | `shim` | the shim's own process: start and end, log, events, memory, its children |
//! | `service` | containerd's calls |
//! | `container` | a container: how it is made, its processes, its end |
//! | `spec` | `config.json`: what is refused, what is completed, what it tells |
//! | `node` | control groups, devices, limits, mounts |
//! | [`application`] | between the shim and the processes that prepare and serve |
//! | [`report`] | where the owner of a container learns what went wrong |

pub mod application;
mod container;
pub mod exit;
mod node;
mod program;
pub mod report;
mod service;
mod shim;
mod spec;

pub use program::{Assistant, Program};
pub use shim::{Failure, RUNTIME, is_called, main, revision};
