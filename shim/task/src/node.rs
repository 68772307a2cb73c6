//! What the node's kernel is asked for: control groups, the use of devices, limits, mounts
//! and files that can only be read.

pub(crate) mod attributes;
pub(crate) mod cgroup;
pub(crate) mod devices;
pub(crate) mod limits;
pub(crate) mod oom;
pub(crate) mod read_only;
