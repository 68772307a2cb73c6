//! A root file system of Debian, for machines whose first process is systemd.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ToolError, kept, run};

/// The release. Its systemd takes both versions of cgroups.
const RELEASE: &str = "bookworm";

/// What it has beside the least that a Debian can be: what makes it a machine,
/// and what containerd runs Linux containers with.
const PACKAGES: &str = "systemd-sysv,dbus,runc";

/// The root folder of a Debian that a machine can be started from, as root
/// owns it: to be read, not to be written to. Making it takes about a minute
/// and Debian's packages.
///
/// # Errors
///
/// When debootstrap is missing or fails, without root for example.
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
