//! Compiling for all platforms, on whatever machine this is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use skiff_release::Platform;

use crate::checkout::{Checkout, run};

/// The version that `setup` builds.
const LIBSECCOMP: &str = "libseccomp-2.5.4";

/// What the environment must not add to: another caller would not have it.
const FOREIGN: [&str; 6] = [
    // Set by the compiler of this program; the checkout's own toolchain file decides.
    "RUSTUP_TOOLCHAIN",
    "CARGO",
    // Cargo takes these in place of what is configured.
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTC_WRAPPER",
];

/// Compiles the programs of a checkout.
pub(crate) struct Compiler<'a> {
    checkout: &'a Checkout,
    /// Where cargo works.
    target_dir: PathBuf,
    /// Where `setup` puts libraries.
    tools: PathBuf,
    /// Folders whose names must not get into binaries, and what stands for them there.
    renamed: Vec<(PathBuf, &'static str)>,
}

impl<'a> Compiler<'a> {
    /// One that works in `target`, with what it needs installed.
    pub(crate) fn set_up(checkout: &'a Checkout, target: &Path) -> anyhow::Result<Self> {
        let tools = target.join("tools");
        let folder = checkout.root.join("deploy/release");
        run(own(&mut Command::new(folder.join("setup")), &folder).arg(&tools))?;
        let target_dir = target.join("dist-build");
        let cargo = home::cargo_home().context("nobody knows where cargo keeps its sources")?;
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

    /// Compiles a package for all of these platforms at once: while a program is linked, which
    /// takes minutes of one core, the others go on.
    pub(crate) fn compile(&self, package: &str, platforms: &[Platform]) -> anyhow::Result<()> {
        let mut cargo = Command::new("cargo");
        // By itself: packages that are compiled together share what they ask of others.
        own(&mut cargo, &self.checkout.root.join("deploy/release"))
            .args(["build", "--release", "--locked", "--package", package])
            .arg("--manifest-path")
            .arg(self.checkout.root.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&self.target_dir)
            .env("LIBSECCOMP_LINK_TYPE", "static")
            // The flags of each platform say where it is. This machine's own is neither found
            // nor asked for its version.
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

    /// Where a compiled program is.
    pub(crate) fn program(&self, platform: Platform, program: &str) -> PathBuf {
        let folder = self.target_dir.join(platform.target());
        folder.join("release").join(program)
    }

    /// Besides what `.cargo/config.toml` asks for. The profile was counted on one processor;
    /// what it tells, which branches and calls are frequent, holds on the others.
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

/// Makes the command one of `folder`, whose toolchain file rustup then reads.
fn own<'c>(command: &'c mut Command, folder: &Path) -> &'c mut Command {
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.current_dir(folder)
}
