//! Compiling for all platforms, on any machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use skiff_release::Platform;

use crate::checkout::{Checkout, run};

/// The tool's version, as `setup` installs it.
const LIBSECCOMP: &str = "libseccomp-2.5.4";

/// Variables to remove from the environment, as they would change the result.
const FOREIGN: [&str; 6] = [
    // Set by this program's toolchain; the checkout's own toolchain file decides.
    "RUSTUP_TOOLCHAIN",
    "CARGO",
    // Cargo prefers these to the configuration.
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTC_WRAPPER",
];

/// Compiles the programs of a checkout.
pub(crate) struct Compiler<'a> {
    checkout: &'a Checkout,
    /// Cargo's target folder.
    target_dir: PathBuf,
    /// The folder of `setup`'s libraries.
    tools: PathBuf,
    /// Folders whose paths must not get into binaries, and their replacements.
    renamed: Vec<(PathBuf, &'static str)>,
}

impl<'a> Compiler<'a> {
    /// A compiler in the folder `target`, with its tools installed.
    pub(crate) fn set_up(checkout: &'a Checkout, target: &Path) -> anyhow::Result<Self> {
        let tools = target.join("tools");
        let folder = checkout.root.join("deploy/release");
        run(own(&mut Command::new(folder.join("setup")), &folder).arg(&tools))?;
        let target_dir = target.join("dist-build");
        let cargo = home::cargo_home().context("cargo's source folder is unknown")?;
        let renamed = vec![
            (cargo, "/cargo"),
            (checkout.root.clone(), "/skiff"),
            (target_dir.clone(), "/target"),
        ];
        Ok(Compiler {
            checkout,
            target_dir,
            tools,
            renamed,
        })
    }

    /// Compiles a package for all of these platforms at once: linking a program takes
    /// minutes of one core, during which the others go on.
    pub(crate) fn compile(&self, package: &str, platforms: &[Platform]) -> anyhow::Result<()> {
        let mut cargo = Command::new("cargo");
        // One package alone: packages that are compiled together share the features of
        // their dependencies.
        own(&mut cargo, &self.checkout.root.join("deploy/release"))
            .args(["build", "--release", "--locked", "--package", package])
            .arg("--manifest-path")
            .arg(self.checkout.root.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&self.target_dir)
            .env("LIBSECCOMP_LINK_TYPE", "static")
            // The flags of each platform set its path, so that this machine's own is not
            // used.
            .env("LIBSECCOMP_LIB_PATH", &self.tools)
            .env("PKG_CONFIG_LIBDIR", &self.tools)
            .env("SOURCE_DATE_EPOCH", self.checkout.date.to_string());
        for platform in platforms {
            let target = platform.target();
            let linker = format!("{}-gcc", platform.gnu());
            let name = target.replace('-', "_");
            cargo
                .args(["--target", target])
                .args(["--config", &format!("target.{target}.linker={linker:?}")])
                .args(["--config", &self.rustflags(*platform)])
                .env(format!("CC_{name}"), &linker)
                .env(format!("CFLAGS_{name}"), self.cflags());
        }
        run(&mut cargo).with_context(|| format!("cannot compile {package}"))
    }

    /// The path of a compiled program.
    pub(crate) fn program(&self, platform: Platform, program: &str) -> PathBuf {
        let folder = self.target_dir.join(platform.target());
        folder.join("release").join(program)
    }

    /// Added to the flags of `.cargo/config.toml`. The profile was taken on one
    /// processor; its information, which branches and calls are frequent, holds for the
    /// others.
    fn rustflags(&self, platform: Platform) -> String {
        let profile = self.checkout.root.join("shim/skiff.profdata");
        let libseccomp = self.tools.join(LIBSECCOMP).join(platform.gnu());
        let mut flags = vec![
            format!("-Cprofile-use={}", profile.display()),
            "-Cllvm-args=-no-pgo-warn-mismatch".to_owned(),
            format!("-Lnative={}", libseccomp.display()),
        ];
        for (folder, name) in &self.renamed {
            flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
        }
        format!("target.{}.rustflags={flags:?}", platform.target())
    }

    fn cflags(&self) -> OsString {
        let mut flags = OsString::new();
        for (folder, name) in &self.renamed {
            flags.push("-ffile-prefix-map=");
            flags.push(folder);
            flags.push(format!("={name} "));
        }
        flags
    }
}

/// Runs the command in `folder`, whose toolchain file rustup then reads.
fn own<'c>(command: &'c mut Command, folder: &Path) -> &'c mut Command {
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.current_dir(folder)
}
