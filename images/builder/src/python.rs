//! Python becomes a component by `componentize-py`, which pip installs into an environment that is
//! the sample's own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::BuildError;
use crate::inputs::Inputs;
use crate::paths::{FileError, Paths};
use crate::process;
use crate::publish::{self, Stamp};

/// What the SDK calls an application that answers HTTP.
const WORLD: &str = "spin:up/http-trigger@4.1.0";

/// What the sample keeps of that world. Without it the component would import every interface of
/// the platform, databases and all, although it uses none of them, and a host that lacks one of
/// them would have to refuse it.
const KEPT: &str = "wasi:http/service@0.3.0";

/// The version of the interpreter that the tools run on.
pub(crate) fn version() -> Result<String, BuildError> {
    Ok(process::run(Command::new("python3").arg("--version"))?.stdout)
}

/// Builds the component of the sample `name` and says where it is.
pub(crate) fn build(name: &str, paths: &Paths) -> Result<PathBuf, BuildError> {
    let source = paths.sample(name);
    let work = paths.work(name);
    fs::create_dir_all(&work).map_err(FileError::at(&work))?;
    let requirements = source.join("requirements.txt");
    let text = fs::read_to_string(&requirements).map_err(FileError::at(&requirements))?;

    let environment = work.join("venv");
    let inputs = Inputs::new().text(&version()?).text(&text);
    let installed = Stamp::new(paths, &format!("{name}.packages"), inputs.digest());
    if !installed.holds(&environment) {
        installed.lift()?;
        publish::remove(&environment)?;
        process::run(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
        process::run(
            Command::new(environment.join("bin/pip"))
                .args([
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--require-hashes",
                ])
                .arg("--requirement")
                .arg(&requirements),
        )?;
        installed.set()?;
    }

    let component = work.join("app.wasm");
    publish::remove(&component)?;
    publish::copy(&source.join("app.py"), &work.join("app.py"))?;
    process::run(
        Command::new(environment.join("bin/componentize-py"))
            .args(["--world", WORLD, "componentize", "app"])
            .args(["--intersect-world", KEPT, "--output", "app.wasm"])
            // By this name the tool finds the packages of the environment.
            .env("VIRTUAL_ENV", &environment)
            .current_dir(&work),
    )?;
    Ok(component)
}
