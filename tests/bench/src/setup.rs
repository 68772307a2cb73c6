//! The programs to compare with that the bench does not build itself.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

/// The same major version as the engine inside Skiff: anything else would
/// compare two releases of wasmtime, not two ways to use it.
const WASMTIME: &str = "^48";

/// Its install folder; `bin/wasmtime` below it is the default of `--wasmtime`.
const ROOT: &str = "target/tools/wasmtime";

/// Builds the native server, if it is missing, and returns its path.
///
/// # Errors
/// If cargo is missing or fails.
pub fn native() -> anyhow::Result<PathBuf> {
    let output = Command::new("cargo")
        .args(["build", "--release", "--package", "skiff-bench-native"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot execute cargo")?;
    if !output.status.success() {
        bail!("cargo could not build the native server");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages).context("cargo does not print the path of the native server")
}

/// The path of the program in cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    })
}

/// Builds wasmtime's command from its registry; some twenty minutes on two cores.
///
/// # Errors
/// If cargo is missing or fails.
pub fn wasmtime() -> anyhow::Result<()> {
    let root = std::path::absolute(ROOT).context("there is no current folder")?;
    let status = Command::new("cargo")
        // Outside the repository, whose cargo settings are for Skiff: this must be built
        // as everyone gets it.
        .current_dir(std::env::temp_dir())
        .args(["install", "wasmtime-cli", "--version", WASMTIME, "--locked"])
        .arg("--root")
        .arg(root)
        .status()
        .context("cannot execute cargo")?;
    if !status.success() {
        bail!("cargo could not install wasmtime-cli {WASMTIME}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/native\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/native")));
    }
}
