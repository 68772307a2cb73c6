//! Runs freshly compiled programs before they are shipped.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use skiff_release::Platform;

use crate::checkout::{Checkout, output};

/// Runs the programs of a folder, emulated if they are for another processor: the shim
/// compiles and runs the application of the self-check, the installer prints its version.
pub(crate) fn run(checkout: &Checkout, platform: Platform, binaries: &Path) -> anyhow::Result<()> {
    let command = |program: &str| {
        let program = binaries.join(program);
        if Platform::here() == Some(platform) {
            return Command::new(program);
        }
        let mut command = Command::new(checkout.root.join("deploy/release/emulated"));
        command.arg(program);
        command
    };
    let cache = tempfile::tempdir().context("no folder for compiled code")?;
    let mut hello = command("skiff");
    hello
        .arg("run")
        .arg(binaries.join("hello"))
        .env("SKIFF_CACHE_DIR", cache.path());
    let said = output(&mut hello).with_context(|| format!("skiff does not run on {platform}"))?;
    ensure!(
        said.contains("Hello from Skiff"),
        "skiff for {platform} runs the self-check, which says: {said}"
    );
    let said = output(command("skiff-installer").arg("--version"))
        .with_context(|| format!("skiff-installer does not run on {platform}"))?;
    println!("{platform}: {said}, and it says hello");
    Ok(())
}
