//! Bills of materials: the packages linked into a program, by cargo-cyclonedx.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;
use skiff_release::Platform;

use crate::checkout::{Checkout, output, run};

/// The version of cargo-cyclonedx.
const VERSION: &str = "0.5.9";

/// The name of the files that it writes beside every manifest of the workspace.
const LEFT: &str = "skiff-release-bom";

/// Writes bills of materials.
pub(crate) struct Bills<'a> {
    checkout: &'a Checkout,
    tool: PathBuf,
}

impl<'a> Bills<'a> {
    /// With the tool installed below `target`.
    pub(crate) fn set_up(checkout: &'a Checkout, target: &Path) -> anyhow::Result<Self> {
        let folder = target.join(format!("tools/cargo-cyclonedx-{VERSION}"));
        let tool = folder.join("bin/cargo-cyclonedx");
        if !tool.exists() {
            run(Command::new("cargo")
                .args(["install", "--locked", "--quiet", "--version", VERSION])
                .arg("--root")
                .arg(&folder)
                .arg("cargo-cyclonedx"))?;
        }
        Ok(Bills { checkout, tool })
    }

    /// Returns the bills of these packages, in their order.
    pub(crate) fn of(&self, platform: Platform, packages: &[&str]) -> anyhow::Result<Vec<String>> {
        let manifests = self.manifests()?;
        let made = output(
            Command::new(&self.tool)
                .args(["cyclonedx", "--quiet", "--format", "json"])
                .args(["--spec-version", "1.5", "--target", platform.target()])
                .args(["--override-filename", LEFT, "--manifest-path"])
                .arg(self.checkout.root.join("Cargo.toml"))
                .env("SOURCE_DATE_EPOCH", self.checkout.date.to_string()),
        );
        let bills = packages.iter().map(|wanted| {
            let manifest = manifests.iter().find(|(name, _)| name == wanted);
            let (_, path) = manifest.with_context(|| format!("there is no package `{wanted}`"))?;
            let bill = left(path);
            let text = fs::read_to_string(&bill)
                .with_context(|| format!("cannot read `{}`", bill.display()))?;
            // Our own packages are identified by their folders, whose paths differ by
            // machine.
            let root = self.checkout.root.display().to_string();
            Ok(text.replace(&root, "/skiff"))
        });
        let bills = made.and_then(|_| bills.collect());
        for (_, path) in &manifests {
            fs::remove_file(left(path)).ok();
        }
        bills
    }

    /// Every package of the workspace with its manifest.
    fn manifests(&self) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let text = output(
            Command::new("cargo")
                .args(["metadata", "--no-deps", "--format-version", "1"])
                .current_dir(&self.checkout.root),
        )?;
        let metadata: Value = serde_json::from_str(&text).context("cargo's metadata")?;
        let packages = metadata["packages"].as_array().into_iter().flatten();
        Ok(packages
            .filter_map(|package| {
                let name = package["name"].as_str()?.to_owned();
                Some((name, PathBuf::from(package["manifest_path"].as_str()?)))
            })
            .collect())
    }
}

fn left(manifest: &Path) -> PathBuf {
    manifest.with_file_name(format!("{LEFT}.json"))
}
