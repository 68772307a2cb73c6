//! What the tests of `deploy/` share: its files, the objects in them as Kubernetes
//! types, and what the README promises.

pub mod documented;
pub mod files;
pub mod objects;
pub mod peers;
pub mod workloads;
