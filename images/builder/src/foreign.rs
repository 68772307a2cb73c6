//! Third-party guests: the modules with which runwasi tests its own shims.
//!
//! Their sources come from a crate that `tests/guests/foreign` names. Its build script
//! needs a target that compilers no longer have, so only its sources are used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::BuildError;
use crate::cargo::Artifact;
use crate::paths::{FileError, Paths};
use crate::{process, publish};

const CRATE: &str = "containerd-shim-wasm-test-modules";

/// The prefix of their file names here.
const PREFIX: &str = "foreign-";

/// Compiles each module depending on the kind of its source.
pub(crate) fn build(paths: &Paths) -> Result<Vec<Artifact>, BuildError> {
    let folder = source(paths)?.join("src/modules");
    let made_in = paths.work("foreign");
    fs::create_dir_all(&made_in).map_err(FileError::at(&made_in))?;
    let mut made = Vec::new();
    for entry in fs::read_dir(&folder).map_err(FileError::at(&folder))? {
        let path = entry.map_err(FileError::at(&folder))?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{PREFIX}{}", stem.replace('_', "-"));
        let file = made_in.join(format!("{name}.wasm"));
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("wat") => {
                let wasm = wat::parse_file(&path).map_err(|source| BuildError::Text {
                    path: path.clone(),
                    source,
                })?;
                fs::write(&file, wasm).map_err(FileError::at(&file))?;
            }
            Some("rs") => rust(&path, &file)?,
            _ => {
                publish::copy(&path, &file)?;
            }
        }
        made.push(Artifact { name, file });
    }
    Ok(made)
}

fn rust(source: &Path, wasm: &Path) -> Result<(), BuildError> {
    process::run(
        Command::new("rustc")
            .args(["--target", "wasm32-wasip1"])
            .args(["--edition", "2021"])
            .args(["-C", "opt-level=z", "-C", "strip=symbols", "-o"])
            .arg(wasm)
            .arg(source),
    )?;
    Ok(())
}

/// The folder of the crate in cargo's cache, fetched if it is missing.
fn source(paths: &Paths) -> Result<PathBuf, BuildError> {
    let mut command = Command::new("cargo");
    command
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(paths.guest_sources());
    let said = process::run(&mut command)?.stdout;
    let metadata: Value =
        serde_json::from_str(&said).map_err(|source| BuildError::CargoMessage {
            line: said.clone(),
            source,
        })?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let found = packages
        .filter(|package| package["name"] == CRATE)
        .find_map(|package| Path::new(package["manifest_path"].as_str()?).parent());
    found
        .map(Path::to_owned)
        .ok_or_else(|| BuildError::NoResult {
            command: "cargo metadata".to_owned(),
            missing: CRATE.to_owned(),
            output: String::new(),
        })
}
