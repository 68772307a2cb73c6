//! `componentize-py`, which pip installs into an environment per application, makes
//! components of Python.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::BuildError;
use crate::cargo::Artifact;
use crate::inputs::Inputs;
use crate::paths::{FileError, Paths};
use crate::process;
use crate::publish::{self, Stamp};

/// An application in Python: `app.py` and `requirements.txt` in a folder.
struct Application<'a> {
    /// The name of its results.
    name: &'a str,
    source: PathBuf,
    /// The SDK's world of an HTTP application.
    world: &'a str,
    /// The part of that world that it keeps. Otherwise the component imports every
    /// interface of the platform, including databases, although it uses none of them.
    kept: Option<&'a str>,
}

/// A guest for each of Spin's SDKs, made as the SDK's documentation says.
const GUESTS: [(&str, &str, &str); 3] = [
    ("python-3-4", "3.4", "spin-http"),
    ("python-4-0", "4.0", "spin:up/http-trigger@4.0.0"),
    ("python-5-0", "5.0", "spin:up/http-trigger@4.1.0"),
];

/// The version of the tools' interpreter.
pub(crate) fn version() -> Result<String, BuildError> {
    Ok(process::run(Command::new("python3").arg("--version"))?.stdout)
}

/// Builds the component of the sample `name` and returns its path.
pub(crate) fn build(name: &str, paths: &Paths) -> Result<PathBuf, BuildError> {
    let sample = Application {
        name,
        source: paths.sample(name),
        world: "spin:up/http-trigger@4.1.0",
        kept: Some("wasi:http/service@0.3.0"),
    };
    sample.build(paths)
}

/// Builds the guests.
pub(crate) fn guests(paths: &Paths) -> Result<Vec<Artifact>, BuildError> {
    let mut made = Vec::new();
    for (name, folder, world) in GUESTS {
        let guest = Application {
            name,
            source: paths.guest_sources().join("python").join(folder),
            world,
            kept: None,
        };
        let (name, file) = (name.to_owned(), guest.build(paths)?);
        made.push(Artifact { name, file });
    }
    Ok(made)
}

impl Application<'_> {
    /// The component, built again if one of its inputs has changed.
    fn build(&self, paths: &Paths) -> Result<PathBuf, BuildError> {
        let work = paths.work(self.name);
        fs::create_dir_all(&work).map_err(FileError::at(&work))?;
        let requirements = self.source.join("requirements.txt");
        let text = fs::read_to_string(&requirements).map_err(FileError::at(&requirements))?;

        let environment = work.join("venv");
        let inputs = Inputs::new().text(&version()?).text(&text);
        let name = format!("{}.packages", self.name);
        let installed = Stamp::new(paths, &name, inputs.digest());
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
        let inputs = Inputs::new().text(&version()?).folder(&self.source)?;
        let inputs = inputs.text(self.world).text(self.kept.unwrap_or_default());
        let name = format!("{}.component", self.name);
        let made = Stamp::new(paths, &name, inputs.digest());
        if made.holds(&component) {
            return Ok(component);
        }
        made.lift()?;
        publish::remove(&component)?;
        publish::copy(&self.source.join("app.py"), &work.join("app.py"))?;
        let kept = self.kept.map(|world| ["--intersect-world", world]);
        process::run(
            Command::new(environment.join("bin/componentize-py"))
                .args(["--world", self.world, "componentize", "app"])
                .args(kept.into_iter().flatten())
                .args(["--output", "app.wasm"])
                // The tool finds the packages of the environment by this variable.
                .env("VIRTUAL_ENV", &environment)
                .current_dir(&work),
        )?;
        made.set()?;
        Ok(component)
    }
}
