//! Artifacts as a whole: images made by hand or by packing, unpacked and prepared.

mod apps;
mod blobs;
mod choice;
mod folder;
mod layout;
mod links;
mod pack;
mod properties;
mod refusals;
mod rootfs;
mod run_rootfs;
mod spin;
mod support;
mod tarball;
