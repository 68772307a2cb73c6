//! `j2w`, which npm installs from the sample's lock file, makes components of JavaScript.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::BuildError;
use crate::inputs::Inputs;
use crate::paths::{FileError, Paths};
use crate::process;
use crate::publish::{self, Stamp};

/// npm's files. `j2w` also looks in `package.json` for the worlds to build against.
const PACKAGE: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// The version of the tools' interpreter.
pub(crate) fn version() -> Result<String, BuildError> {
    Ok(process::run(Command::new("node").arg("--version"))?.stdout)
}

/// Builds the component of the sample `name` and returns its path.
pub(crate) fn build(name: &str, paths: &Paths) -> Result<PathBuf, BuildError> {
    let source = paths.sample(name);
    let work = paths.work(name);
    fs::create_dir_all(&work).map_err(FileError::at(&work))?;
    let mut inputs = Inputs::new().text(&version()?);
    for file in PACKAGE {
        publish::copy(&source.join(file), &work.join(file))?;
        let path = source.join(file);
        inputs = inputs.text(&fs::read_to_string(&path).map_err(FileError::at(&path))?);
    }

    let installed = Stamp::new(paths, &format!("{name}.packages"), inputs.digest());
    if !installed.holds(&work.join("node_modules")) {
        installed.lift()?;
        process::run(
            Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund"])
                .current_dir(&work),
        )?;
        installed.set()?;
    }

    // `j2w` leaves notes beside the script, reuses what they describe, and exits with 0
    // even when it failed: so it gets a new folder, and only a new file counts.
    let component = work.join("app.wasm");
    publish::remove(&component)?;
    publish::remove(&work.join("app.js.buildData.json"))?;
    publish::copy(&source.join("app.js"), &work.join("app.js"))?;
    let scratch = work.join("tmp");
    fs::create_dir_all(&scratch).map_err(FileError::at(&scratch))?;
    let mut command = Command::new("npx");
    command
        .args(["--no-install", "j2w", "-i", "app.js", "-o", "app.wasm"])
        // It leaves temporary files behind.
        .env("TMPDIR", &scratch)
        .current_dir(&work);
    let ran = process::run(&mut command)?;
    if !component.exists() {
        return Err(BuildError::NoResult {
            command: process::shown(&command),
            missing: "app.wasm".to_owned(),
            output: ran.said,
        });
    }
    Ok(component)
}
