//! The reference of every comparison: wasmtime's command, of Skiff's wasmtime version.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, ProcessError};
use crate::workshop::{FileError, Workshop};

/// The command that the bench compares with, also used here if its version is the
/// engine's.
const OF_THE_BENCH: &str = "target/tools/wasmtime/bin/wasmtime";

/// The features that `run` and `serve` need to behave as in a release. The others (other
/// compilers, profilers, tools) would double the build time.
const FEATURES: &str = "run,serve,cranelift,parallel-compilation,pooling-allocator,component-model,component-model-async,cache";

/// Compiled quickly, except the crates that compile guests, which would take twice as
/// long for each guest.
const WELL_OPTIMISED: [&str; 4] = [
    "cranelift-codegen",
    "cranelift-frontend",
    "regalloc2",
    "wasmparser",
];

/// Why there is no reference command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("`{}` is not a lock file with exactly one wasmtime", path.display())]
    Lock { path: PathBuf },
    #[error("`{}` is of version {found}, and Skiff has {wanted} inside", path.display())]
    Version {
        path: PathBuf,
        found: String,
        wanted: String,
    },
}

/// The command: the bench's, or a separate one, whose first build takes some minutes.
pub(crate) fn command(workshop: &Workshop) -> Result<PathBuf, ReferenceError> {
    let wanted = inside_skiff(&workshop.root("Cargo.lock"))?;
    let folder = workshop.work("wasmtime");
    let own = folder.join("bin/wasmtime");
    for there in [workshop.root(OF_THE_BENCH), own.clone()] {
        if version(&there).is_ok_and(|found| found == wanted) {
            return Ok(there);
        }
    }
    install(&wanted, &folder)?;
    let found = version(&own)?;
    if found != wanted {
        let path = own;
        return Err(ReferenceError::Version {
            path,
            found,
            wanted,
        });
    }
    Ok(own)
}

fn install(version: &str, folder: &Path) -> Result<(), ProcessError> {
    let mut cargo = Command::new("cargo");
    cargo
        // Outside the repository, whose cargo settings are for Skiff.
        .current_dir(std::env::temp_dir())
        .args(["install", "wasmtime-cli", "--locked", "--force"])
        .args(["--version", &format!("={version}")])
        .args(["--no-default-features", "--features", FEATURES])
        .arg("--root")
        .arg(folder)
        .env("CARGO_TARGET_DIR", folder.join("build"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    for name in WELL_OPTIMISED {
        let level = format!("profile.release.package.{name}.opt-level=2");
        cargo.args(["--config", &level]);
    }
    process::run(&mut cargo)?;
    // Half a gigabyte that is not needed again.
    std::fs::remove_dir_all(folder.join("build")).ok();
    Ok(())
}

/// The version that `command` prints.
fn version(command: &Path) -> Result<String, ProcessError> {
    let told = process::run(Command::new(command).arg("--version"))?;
    Ok(told
        .split_whitespace()
        .nth(1)
        .unwrap_or_default()
        .to_owned())
}

/// The release of wasmtime in Skiff's lock file.
fn inside_skiff(lock: &Path) -> Result<String, ReferenceError> {
    let text = std::fs::read_to_string(lock).map_err(FileError::at(lock))?;
    locked(&text).ok_or_else(|| ReferenceError::Lock {
        path: lock.to_owned(),
    })
}

fn locked(text: &str) -> Option<String> {
    let lock: toml::Table = text.parse().ok()?;
    let packages = lock.get("package")?.as_array()?;
    let mut found = packages
        .iter()
        .filter(|package| package.get("name").and_then(|name| name.as_str()) == Some("wasmtime"))
        .filter_map(|package| package.get("version")?.as_str());
    let version = found.next()?.to_owned();
    found.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[package]]\nname = \"wasmtime\"\nversion = \"48.0.8\"\n";

    #[test]
    fn the_locked_release_is_found_and_two_are_none() {
        let other = "[[package]]\nname = \"wasmtime-wasi\"\nversion = \"48.0.9\"\n";
        assert_eq!(locked(&format!("{other}{ONE}")).as_deref(), Some("48.0.8"));
        assert_eq!(locked(&format!("{ONE}{ONE}")), None);
        assert_eq!(locked(other), None);
    }
}
