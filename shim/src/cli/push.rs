//! `skiff push`: builds the same artifact as `spin registry push`.

use std::path::PathBuf;

use chrono::DateTime;
use clap::Args;
use skiff_artifact::pack::{Options, to_layout};

use crate::app::capability;

#[derive(Args)]
pub(super) struct Push {
    /// A folder with a spin.toml, or a manifest
    #[arg(default_value = ".")]
    application: PathBuf,
    /// Write an OCI layout to this folder, which must not exist yet
    #[arg(long, value_name = "DIR")]
    to_layout: PathBuf,
    /// Name the image, for tools that import the layout
    #[arg(long, value_name = "REFERENCE", value_parser = reference)]
    name: Option<String>,
    /// Put each component's files into one archive layer
    #[arg(long)]
    archive: bool,
    /// Push binaries as they were built, and dependencies beside them
    #[arg(long)]
    as_built: bool,
    /// Add an annotation to the manifest
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::run::pair)]
    annotation: Vec<(String, String)>,
    /// When the artifact was made (RFC 3339); left out, the same folder gives the same digest
    #[arg(long, value_name = "TIME", value_parser = time)]
    created: Option<String>,
}

/// Checks an image's name as tools accept it. Registries may have further rules.
fn reference(text: &str) -> Result<String, String> {
    let wrong = |letter: char| letter.is_whitespace() || letter.is_control();
    match text.is_empty() || text.contains(wrong) {
        true => Err("a name such as `registry.example/app:1` is expected".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A time as in image configurations, kept as it was written.
fn time(text: &str) -> Result<String, String> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; a time such as `2026-01-31T12:00:00Z` is expected"
        )),
    }
}

impl Push {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let unnamed = self.name.is_none();
        let options = Options {
            reference: self.name,
            archive: self.archive,
            as_built: self.as_built,
            annotations: self.annotation.into_iter().collect(),
            created: self.created,
        };
        let packed = to_layout(
            &self.application,
            &self.to_layout,
            &options,
            capability,
            &super::run::fetch,
        )?;
        super::warn(&packed.warnings);
        if unnamed {
            eprintln!(
                "the image has no name, and containerd only imports named images: \
                 give it one with --name"
            );
        }
        super::print(&format!("{}\n", packed.manifest.digest))
    }
}
