//! What a release ships, made so that the same commit gives the same digests.
//!
//! [`InstallerImage`] is the image that the chart's DaemonSet runs, for the processors of one
//! release; tests make theirs from the binaries they have. [`Archive`] is what all files are
//! packed with.
//!
//! The program `release` compiles for every [`Platform`] and gathers the rest.

mod archive;
mod image;
mod platform;

pub use archive::{Archive, ArchiveError, gzip};
pub use image::{ImageError, InstallerImage};
pub use platform::{Platform, UnknownPlatform};
