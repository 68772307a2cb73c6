//! componentize-py of the time of WASI's release candidates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::python::environment;
use crate::build::{BuildError, Inputs, once};
use crate::process;
use crate::workshop::{FileError, Workshop};

/// The candidates of WASI 0.2, each with the release that was made for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Candidate {
    First,
    Second,
}

/// How a release is used: its requirements, the candidate's date, and the guest.
struct Use {
    requirements: &'static str,
    date: &'static str,
    guest: &'static str,
}

impl Candidate {
    fn used(self) -> Use {
        match self {
            Candidate::First => Use {
                requirements: "componentize-0.6",
                date: "2023-10-18",
                guest: "python-2023-10-18",
            },
            Candidate::Second => Use {
                requirements: "componentize-0.7",
                date: "2023-11-10",
                guest: "python-2023-11-10",
            },
        }
    }
}

pub(super) fn componentize(
    workshop: &Workshop,
    candidate: Candidate,
) -> Result<PathBuf, BuildError> {
    let sources = workshop.sources("python-candidates");
    let shared = workshop.sources("python").join("shared.py");
    let Use {
        requirements,
        date,
        guest,
    } = candidate.used();
    let packages = environment(
        workshop,
        &format!("python-{requirements}-packages"),
        &sources.join(format!("{requirements}.txt")),
    )?;
    let wit = workshop.root(&format!("tests/fixtures/wit/wasi-{date}.wit"));
    let read = |path: &Path| fs::read_to_string(path).map_err(FileError::at(path));
    let interfaces = read(&wit)?;
    let inputs = Inputs::new()
        .text(&interfaces)
        .text(&read(&shared)?)
        .folder(&sources)?;
    once(workshop, guest, inputs, |folder| {
        let there = folder.join("wit");
        write_wit(&interfaces, date, &there)?;
        for (from, name) in [
            (&sources.join("server.py"), "server.py"),
            (&shared, "shared.py"),
        ] {
            fs::copy(from, folder.join(name)).map_err(FileError::at(from))?;
        }
        process::run(
            Command::new(packages.join("bin/componentize-py"))
                .arg("--wit-path")
                .arg(&there)
                .args(["--world", "candidate", "componentize", "server", "--output"])
                .arg(folder.join(format!("{guest}.wasm")))
                .current_dir(folder),
        )?;
        Ok(())
    })
}

/// Writes the packages of a file as that time's tools read them, a folder for each, and the
/// world of a server.
fn write_wit(interfaces: &str, date: &str, folder: &Path) -> Result<(), FileError> {
    let write = |path: PathBuf, text: String| {
        let parent = path.parent().unwrap_or(&path);
        fs::create_dir_all(parent).map_err(FileError::at(&path))?;
        fs::write(&path, text).map_err(FileError::at(&path))
    };
    let packages = interfaces.split("\npackage ").skip(2);
    for package in packages {
        let (name, rest) = package.split_once(" {\n").unwrap_or((package, ""));
        let body = rest.trim_end().trim_end_matches('}');
        let short = name.trim_start_matches("wasi:");
        let short = short.split_once('@').map_or(short, |(short, _)| short);
        let path = folder.join("deps").join(short).join("all.wit");
        write(path, format!("package {name};\n{body}"))?;
    }
    let version = format!("0.2.0-rc-{date}");
    let world = format!(
        "package skiff:candidates;
world candidate {{
    import wasi:http/types@{version};
    import wasi:http/outgoing-handler@{version};
    export wasi:http/incoming-handler@{version};
}}
"
    );
    write(folder.join("world.wit"), world)
}
