//! componentize-py, which makes components with Python's own interpreter, and Spin's SDK
//! for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{BuildError, Inputs, copy_folder, once};
use crate::process;
use crate::workshop::{FileError, Workshop};

/// The releases of Spin's SDK, each used as its documentation says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sdk {
    /// A program that uses the standard library; only its interfaces come from the SDK.
    None,
    /// The last one on WASI 0.2.
    Spin3,
    /// On a release candidate of WASI 0.3.
    Spin4,
    /// On WASI 0.3.0.
    Spin5,
}

/// How a release is used: its requirements, the world, and the guest's module.
struct Use {
    requirements: &'static str,
    world: &'static str,
    module: &'static str,
    guest: &'static str,
}

impl Sdk {
    fn used(self) -> Use {
        let (requirements, world, module, guest) = match self {
            Sdk::None => ("spin-5", "command", "command", "python"),
            Sdk::Spin3 => ("spin-3", "spin-http", "http_3", "python-spin-3"),
            Sdk::Spin4 => (
                "spin-4",
                "spin:up/http-trigger@4.0.0",
                "http_5",
                "python-spin-4",
            ),
            Sdk::Spin5 => (
                "spin-5",
                "spin:up/http-trigger@4.1.0",
                "http_5",
                "python-spin-5",
            ),
        };
        Use {
            requirements,
            world,
            module,
            guest,
        }
    }
}

pub(super) fn componentize(workshop: &Workshop, sdk: Sdk) -> Result<PathBuf, BuildError> {
    let sources = workshop.sources("python");
    let Use {
        requirements,
        world,
        module,
        guest,
    } = sdk.used();
    let packages = environment(
        workshop,
        &format!("python-{requirements}-packages"),
        &sources.join(format!("{requirements}.txt")),
    )?;
    let inputs = Inputs::new().version(&mut python())?.folder(&sources)?;
    once(workshop, guest, inputs, |folder| {
        let app = folder.join("app");
        copy_folder(&sources, &app)?;
        let mut command = Command::new(packages.join("bin/componentize-py"));
        command.current_dir(&app);
        if sdk == Sdk::None {
            let wit = folder.join("wit");
            interfaces(&packages, &wit)?;
            let world_file = wit.join("worlds.wit");
            fs::copy(sources.join("worlds.wit"), &world_file)
                .map_err(FileError::at(&world_file))?;
            command
                .arg("--wit-path")
                .arg(&wit)
                .env_remove("VIRTUAL_ENV");
        } else {
            // The tool finds the SDK by this variable.
            command.env("VIRTUAL_ENV", &packages);
        }
        command
            .args(["--world", world, "componentize", module, "--output"])
            .arg(folder.join(format!("{guest}.wasm")));
        process::run(&mut command)?;
        Ok(())
    })
}

/// Copies the interfaces of WASI 0.2 from the SDK, which has many others.
fn interfaces(packages: &Path, wit: &Path) -> Result<(), BuildError> {
    let libraries = packages.join("lib");
    let entries = fs::read_dir(&libraries).map_err(FileError::at(&libraries))?;
    let have = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("site-packages/spin_sdk/wit/deps"))
        .find(|deps| deps.is_dir());
    let have = have.ok_or_else(|| BuildError::Missing {
        manifest: packages.to_owned(),
        file: "spin_sdk/wit/deps".to_owned(),
    })?;
    for name in ["cli", "clocks", "filesystem", "io", "random", "sockets"] {
        copy_folder(
            &have.join(format!("{name}@0.2.6")),
            &wit.join("deps").join(name),
        )?;
    }
    Ok(())
}

/// The folder of a Python environment with `requirements`, checked by digests.
pub(super) fn environment(
    workshop: &Workshop,
    name: &str,
    requirements: &Path,
) -> Result<PathBuf, BuildError> {
    let text = fs::read_to_string(requirements).map_err(FileError::at(requirements))?;
    let inputs = Inputs::new().version(&mut python())?.text(&text);
    once(workshop, name, inputs, |folder| {
        process::run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        process::run(
            Command::new(folder.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check"])
                .args(["--require-hashes", "--requirement"])
                .arg(requirements),
        )?;
        Ok(())
    })
}

fn python() -> Command {
    let mut python = Command::new("python3");
    python.arg("--version");
    python
}
