//! Runs WebAssembly applications: as Kubernetes pods through containerd, and on a laptop
//! without either.

pub mod app;
pub mod cli;
pub mod exit;
pub mod pod;
pub mod process;
pub mod settings;
