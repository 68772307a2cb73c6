//! Shared by the tests of `deploy/`: its files, the objects in them as Kubernetes types,
//! and the README's promises.

pub mod documented;
pub mod files;
pub mod objects;
pub mod peers;
pub mod workloads;
