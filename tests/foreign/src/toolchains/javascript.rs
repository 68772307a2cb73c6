//! The npm toolchains: AssemblyScript, jco with componentize-js, and Spin's SDK.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{BuildError, Inputs, copy_folder, once};
use crate::process;
use crate::workshop::{FileError, Workshop};

/// jco's folder of WASI interfaces.
const INTERFACES: &str = "node_modules/@bytecodealliance/jco/lib/wit/builtin/0.2.12";

/// If a world exports this interface, componentize-js knows only an older version of it;
/// if none does, only the newer one fits the others.
const HTTP: (&str, &str) = ("wasi:http@0.2.12", "wasi:http@0.2.10");

pub(super) fn assemblyscript(workshop: &Workshop) -> Result<PathBuf, BuildError> {
    let sources = workshop.sources("assemblyscript");
    let packages = packages(workshop, "assemblyscript-packages", &sources)?;
    let inputs = Inputs::new().version(&mut node())?.folder(&sources)?;
    once(workshop, "assemblyscript", inputs, |folder| {
        // It looks for the shim's sources beside the compiled file.
        let source = packages.join("tool.ts");
        fs::copy(sources.join("tool.ts"), &source).map_err(FileError::at(&source))?;
        process::run(
            Command::new("npx")
                .args(["--no-install", "asc", "tool.ts", "-O", "--config"])
                .arg("node_modules/@assemblyscript/wasi-shim/asconfig.json")
                .arg("-o")
                .arg(folder.join("assemblyscript.wasm"))
                .current_dir(&packages),
        )?;
        Ok(())
    })
}

pub(super) fn componentize(workshop: &Workshop) -> Result<PathBuf, BuildError> {
    let sources = workshop.sources("javascript");
    let packages = packages(workshop, "javascript-packages", &sources)?;
    let inputs = Inputs::new().version(&mut node())?.folder(&sources)?;
    once(workshop, "javascript", inputs, |folder| {
        for (world, guest) in [("command", "javascript"), ("http", "javascript-http")] {
            let wit = folder.join(world);
            copy_folder(&packages.join(INTERFACES), &wit.join("deps"))?;
            if world == "http" {
                let http = wit.join("deps/wasi-http/package.wit");
                let text = fs::read_to_string(&http).map_err(FileError::at(&http))?;
                fs::write(&http, text.replace(HTTP.0, HTTP.1)).map_err(FileError::at(&http))?;
            }
            let name = format!("{world}.wit");
            fs::copy(sources.join(&name), wit.join(&name)).map_err(FileError::at(&sources))?;
            process::run(
                Command::new("npx")
                    .args(["--no-install", "jco", "componentize"])
                    .arg(sources.join(format!("{world}.js")))
                    .arg("--wit")
                    .arg(&wit)
                    .args(["--world-name", world, "--out"])
                    .arg(folder.join(format!("{guest}.wasm")))
                    .current_dir(&packages),
            )?;
        }
        Ok(())
    })
}

/// Bundled and made as the SDK documents, with esbuild in place of webpack.
pub(super) fn spin(workshop: &Workshop) -> Result<PathBuf, BuildError> {
    let sources = workshop.sources("javascript-spin");
    let packages = packages(workshop, "javascript-spin-packages", &sources)?;
    let inputs = Inputs::new().version(&mut node())?.folder(&sources)?;
    once(workshop, "javascript-spin", inputs, |folder| {
        // Imports are looked for in the folders above the file.
        let source = packages.join("http.js");
        fs::copy(sources.join("http.js"), &source).map_err(FileError::at(&source))?;
        let bundle = folder.join("bundle.js");
        process::run(
            Command::new("npx")
                .args(["--no-install", "esbuild", "http.js", "--bundle"])
                .args([
                    "--format=esm",
                    "--log-level=warning",
                    "--external:fermyon:*",
                ])
                .arg(format!("--outfile={}", bundle.display()))
                .current_dir(&packages),
        )?;
        process::run(
            Command::new("npx")
                .args(["--no-install", "j2w", "--trigger-type", "spin-http", "-i"])
                .arg(&bundle)
                .arg("-o")
                .arg(folder.join("javascript-spin.wasm"))
                .current_dir(&packages),
        )?;
        Ok(())
    })
}

/// The folder in which npm has installed the lock file of `sources`.
fn packages(workshop: &Workshop, name: &str, sources: &Path) -> Result<PathBuf, BuildError> {
    let mut inputs = Inputs::new().version(&mut node())?;
    let files = ["package.json", "package-lock.json", ".npmrc"].map(|file| sources.join(file));
    for file in &files {
        inputs = inputs.text(&fs::read_to_string(file).map_err(FileError::at(file))?);
    }
    once(workshop, name, inputs, |folder| {
        for file in &files {
            let there = folder.join(file.file_name().unwrap_or_default());
            fs::copy(file, there).map_err(FileError::at(file))?;
        }
        process::run(
            Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund"])
                .current_dir(folder),
        )?;
        Ok(())
    })
}

fn node() -> Command {
    let mut node = Command::new("node");
    node.arg("--version");
    node
}
