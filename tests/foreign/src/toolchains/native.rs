//! Compiled languages: Go, Rust, Zig, and C through Zig.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::python::environment;
use crate::build::{BuildError, Inputs, once};
use crate::process;
use crate::workshop::{FileError, Workshop};

/// A Rust package, the target it is compiled for, the file that cargo makes, and the guest's name.
const RUST: [(&str, &str, &str, &str); 11] = [
    ("command", "wasm32-wasip1", "command", "rust-wasip1"),
    ("command", "wasm32-wasip2", "command", "rust-wasip2"),
    // These SDKs are documented to be compiled so; a host makes the component.
    ("spin-2", "wasm32-wasip1", "spin_2", "spin-2"),
    ("spin-3", "wasm32-wasip1", "spin_3", "spin-3"),
    (
        "spin-3-state",
        "wasm32-wasip1",
        "spin_3_state",
        "spin-3-state",
    ),
    ("spin-5", "wasm32-wasip2", "spin_5", "spin-5"),
    (
        "spin-5-state",
        "wasm32-wasip2",
        "spin_5_state",
        "spin-5-state",
    ),
    ("spin-7", "wasm32-wasip2", "spin_7", "spin-7"),
    (
        "spin-7-state",
        "wasm32-wasip2",
        "spin_7_state",
        "spin-7-state",
    ),
    ("wstd-http", "wasm32-wasip2", "wstd-http", "wstd"),
    ("wasip3-http", "wasm32-wasip2", "wasip3_http", "wasip3"),
];

pub(super) fn go(workshop: &Workshop) -> Result<PathBuf, BuildError> {
    let sources = workshop.sources("go");
    let inputs = Inputs::new()
        .version(Command::new("go").arg("version"))?
        .folder(&sources)?;
    once(workshop, "go", inputs, |folder| {
        process::run(
            Command::new("go")
                .args(["build", "-trimpath", "-o"])
                .arg(folder.join("go.wasm"))
                .arg(".")
                .current_dir(&sources)
                .envs([("GOOS", "wasip1"), ("GOARCH", "wasm")]),
        )?;
        Ok(())
    })
}

pub(super) fn rust(workshop: &Workshop) -> Result<PathBuf, BuildError> {
    let sources = workshop.sources("rust");
    let inputs = Inputs::new()
        .version(Command::new("rustc").arg("--version"))?
        .folder(&sources)?;
    // Kept apart from the guests, so that cargo compiles only what changed.
    let target = workshop.work("rust-target");
    once(workshop, "rust", inputs, |folder| {
        for wanted in ["wasm32-wasip1", "wasm32-wasip2"] {
            let mut cargo = Command::new("cargo");
            cargo
                .args(["build", "--release", "--locked", "--target", wanted])
                .arg("--target-dir")
                .arg(&target)
                .current_dir(&sources);
            for (package, _, _, _) in RUST.iter().filter(|(_, target, _, _)| *target == wanted) {
                cargo.args(["--package", package]);
            }
            process::run(&mut cargo)?;
        }
        for (_, wanted, file, guest) in RUST {
            let made = target.join(wanted).join(format!("release/{file}.wasm"));
            let there = folder.join(format!("{guest}.wasm"));
            fs::copy(&made, there).map_err(FileError::at(&made))?;
        }
        Ok(())
    })
}

/// Zig's compiler, which comes from PyPI.
fn compiler(workshop: &Workshop) -> Result<impl Fn(&[&str]) -> Command, BuildError> {
    let requirements = workshop.sources("zig").join("requirements.txt");
    let zig = environment(workshop, "zig-packages", &requirements)?;
    let cache = workshop.work("zig-cache");
    Ok(move |arguments: &[&str]| {
        let mut command = Command::new(zig.join("bin/python"));
        command
            .args(["-m", "ziglang"])
            .args(arguments)
            .env("ZIG_GLOBAL_CACHE_DIR", &cache)
            .env("ZIG_LOCAL_CACHE_DIR", &cache);
        command
    })
}

pub(super) fn zig(workshop: &Workshop) -> Result<PathBuf, BuildError> {
    let sources = workshop.sources("zig");
    let zig = compiler(workshop)?;
    let inputs = Inputs::new().folder(&sources)?;
    once(workshop, "zig", inputs, |folder| {
        process::run(
            zig(&["cc", "--target=wasm32-wasi", "-O2", "-s", "-o"])
                .arg(folder.join("c.wasm"))
                .arg(sources.join("tool.c")),
        )?;
        process::run(
            zig(&["build-exe", "-target", "wasm32-wasi", "-OReleaseSmall"])
                .arg(format!("-femit-bin={}", folder.join("zig.wasm").display()))
                .arg(sources.join("tool.zig")),
        )?;
        Ok(())
    })
}

/// The module of the SDK with the bindings.
const SPIN_GO: &str = "github.com/fermyon/spin/sdk/go/v2";

pub(super) fn spin_go(workshop: &Workshop) -> Result<PathBuf, BuildError> {
    let sources = workshop.sources("spin-go");
    let zig = compiler(workshop)?;
    let requirements = workshop.sources("zig").join("requirements.txt");
    let compiler = fs::read_to_string(&requirements).map_err(FileError::at(&requirements))?;
    let inputs = Inputs::new().text(&compiler).folder(&sources)?;
    once(workshop, "spin-go-2", inputs, |folder| {
        let go = |arguments: &[&str]| {
            let mut go = Command::new("go");
            process::run(go.args(arguments).arg(SPIN_GO).current_dir(&sources))
        };
        go(&["mod", "download"])?;
        let sdk = go(&["list", "-m", "-f", "{{.Dir}}"])?;
        let sdk = Path::new(sdk.trim());
        let mut zig = zig(&["cc", "--target=wasm32-wasi", "-mexec-model=reactor"]);
        zig.args(["-O2", "-s", "-Wno-int-conversion", "-o"])
            .arg(folder.join("spin-go-2.wasm"))
            .arg(sources.join("server.c"));
        for (package, bindings) in [("http", "spin-http.c"), ("variables", "spin-config.c")] {
            let package = sdk.join(package);
            zig.arg("-I").arg(&package).arg(package.join(bindings));
        }
        process::run(&mut zig)?;
        Ok(())
    })
}
