//! Shared by the Helm chart's tests: Helm as users have it, the folders of cases, and the
//! generated part of the chart's README.
//!
//! `cargo run --bin charts` rewrites what the tests compare with.

pub mod cases;
pub mod helm;
pub mod readme;
pub mod values;

use std::path::PathBuf;

/// The chart's folder.
pub fn chart() -> PathBuf {
    root().join("charts/skiff")
}

/// The project's folder.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
