//! A private containerd for tests, benches and `make run`.
//!
//! A program that uses this crate has three lines at the top of its `main`,
//! in this order, before it starts any thread:
//!
//! 1. [`guard::run_if_asked`]: the same program is also the guard process that cleans up
//!    when the test run itself is killed.
//! 2. [`isolation::enter`] (optional): separate network and mount namespaces, so that the
//!    machine sees nothing of the run, and nothing outlives it.
//! 3. [`containerd::Containerd::start`], inside a tokio runtime.
//!
//! [`tools`] and [`paths`] build and find programs; [`oci`] writes images; [`cri`] runs
//! pods, [`ctr`] plain tasks; [`measure`] measures what a pod costs.

pub mod cgroups;
pub mod containerd;
pub mod cri;
pub mod ctr;
pub mod guard;
pub mod http;
pub mod isolation;
pub mod leftovers;
pub mod logs;
pub mod measure;
pub mod network;
pub mod oci;
pub mod pages;
pub mod paths;
pub mod pod;
pub mod processes;
pub mod tools;

mod config;
mod daemon;
mod image;
mod spec;

pub use containerd::{Containerd, Settings, Version};
pub use cri::Cri;
pub use k8s_cri::v1::{DnsConfig, LinuxContainerResources};
pub use pod::{Container, Pod};
pub use spec::ContainerSpec;
