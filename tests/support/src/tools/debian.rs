//! A root file system of Debian, for machines with systemd as their first process.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ToolError, kept, run};

/// The release. Its systemd supports both versions of cgroups.
const RELEASE: &str = "bookworm";

/// Its packages beyond a minimal Debian: those of a bootable machine, and those that
/// containerd needs to run Linux containers.
const PACKAGES: &str = "systemd-sysv,dbus,runc";

/// The root folder of a bootable Debian, owned by root and not to be written to. Making
/// it takes about a minute and downloads Debian's packages.
///
/// # Errors
///
/// When debootstrap is missing or fails, for example without root.
pub fn debian() -> Result<PathBuf, ToolError> {
    let folder = kept(&format!("debian-{RELEASE}"), bootstrap)?;
    Ok(folder.join("root"))
}

fn bootstrap(partial: &Path) -> Result<(), ToolError> {
    const TOOL: &str = "debootstrap";
    let mut bootstrap = Command::new(TOOL);
    bootstrap
        .args(["--variant=minbase", "--include", PACKAGES, RELEASE])
        .arg(partial.join("root"));
    run("a Debian root", TOOL, "install debootstrap", bootstrap)
}
