//! The shim: handles containerd's calls and runs containers.
//!
//! Three processes take part, all running the same file. The *shim* answers containerd's
//! calls, one shim per pod ([`main`]). For a container that is not a Linux program, it
//! starts a process that *prepares*, which finds the application, answers, and ends. Then
//! the container's own process is created, in its namespaces and with its limits, and
//! becomes the one that *serves*. Only the [`Program`] that uses this crate knows what an
//! application is; this crate handles containerd, the OCI runtime and the node.
//!
//! | module | content |
//! |---|---|
//! | `shim` | the shim's own process: start and end, log, events, memory, its children |
//! | `service` | containerd's calls |
//! | `container` | a container: its creation, its processes, its end |
//! | `spec` | `config.json`: what is refused, completed and read |
//! | `node` | control groups, devices, limits, mounts |
//! | [`application`] | between the shim and the processes that prepare and serve |
//! | [`report`] | reports failures to the owner of a container |

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
