//! The commit of a release.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// This checkout and its commit.
pub(crate) struct Checkout {
    /// Its folder.
    pub(crate) root: PathBuf,
    /// The commit.
    pub(crate) revision: String,
    /// The commit's date, in seconds since 1970.
    pub(crate) date: u64,
}

impl Checkout {
    /// The checkout in which this program was compiled. Warns if its files differ from
    /// the commit.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().context("the checkout is gone")?;
        let git = |words: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(&root).args(words);
            output(&mut command)
        };
        let revision = git(&["rev-parse", "HEAD"])?;
        let date = git(&["log", "-1", "--format=%ct"])?;
        let date = date
            .parse()
            .with_context(|| format!("`{date}` is not a date"))?;
        if !git(&["status", "--porcelain"])?.is_empty() {
            eprintln!(
                "There are changes that are not in commit {revision}: the release cannot be reproduced."
            );
        }
        Ok(Checkout {
            root,
            revision,
            date,
        })
    }
}

/// Runs a command to its end and returns its trimmed output.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .output()
        .with_context(|| format!("cannot run `{name}`"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("`{name}` ended with {}:\n{}", done.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Runs a command whose output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot run `{name}`"))?;
    if !status.success() {
        bail!("`{name}` ended with {status}");
    }
    Ok(())
}
