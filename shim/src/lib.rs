//! Runs WebAssembly applications: as pods of Kubernetes through containerd, and
//! on a laptop without either.

pub mod app;
pub mod cli;
pub mod exit;
pub mod process;
pub mod settings;
pub mod task;
