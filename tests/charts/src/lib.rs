//! What the Helm chart's tests share: Helm as users have it, the folders of
//! cases, and the part of the chart's README that is made from its values.
//!
//! `cargo run --bin charts` writes anew what the tests compare with.

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
