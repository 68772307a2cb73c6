//! The files of a release, made so that the same commit gives the same digests.
//!
//! [`InstallerImage`] is the image that the chart's DaemonSet runs, for the processors of
//! one release; tests make theirs from their own binaries. [`Archive`] packs all files.
//!
//! The program `release` compiles for every [`Platform`] and collects the rest.

mod archive;
mod image;
mod platform;

pub use archive::{Archive, ArchiveError, gzip};
pub use image::{ImageError, InstallerImage};
pub use platform::{Platform, UnknownPlatform};
