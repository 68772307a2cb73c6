//! Artifacts as a whole: images made by hand or by packing, unpacked and prepared.

mod blobs;
mod folder;
mod layout;
mod pack;
mod properties;
mod rootfs;
mod run_rootfs;
mod spin;
mod support;
mod tarball;
