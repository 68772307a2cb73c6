//! The guest in Go, a core module of preview 1.

use std::fs;
use std::process::Command;

use crate::BuildError;
use crate::cargo::Artifact;
use crate::inputs::Inputs;
use crate::paths::{FileError, Paths};
use crate::process;
use crate::publish::Stamp;

/// Builds it again if its source or the toolchain has changed.
pub(crate) fn guest(paths: &Paths) -> Result<Artifact, BuildError> {
    let source = paths.guest_sources().join("go");
    let work = paths.work("go");
    fs::create_dir_all(&work).map_err(FileError::at(&work))?;
    let file = work.join("go.wasm");
    let version = process::run(Command::new("go").arg("version"))?.stdout;
    let inputs = Inputs::new().text(&version).folder(&source)?;
    let made = Stamp::new(paths, "go.module", inputs.digest());
    if !made.holds(&file) {
        made.lift()?;
        process::run(
            Command::new("go")
                .args(["build", "-trimpath", "-o"])
                .arg(&file)
                .arg(".")
                .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOFLAGS", "")])
                .current_dir(&source),
        )?;
        made.set()?;
    }
    let name = "go".to_owned();
    Ok(Artifact { name, file })
}
