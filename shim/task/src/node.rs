//! Uses the node's kernel: control groups, device access, limits, mounts and read-only
//! files.

pub(crate) mod attributes;
pub(crate) mod cgroup;
pub(crate) mod devices;
pub(crate) mod limits;
pub(crate) mod oom;
pub(crate) mod read_only;
