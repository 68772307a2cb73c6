//! The node's own process ids.
//!
//! The node's programs run in a process namespace, below a first process that reaps
//! orphans as an init process does. A pod that looks for processes of the node finds only
//! the node's, and when the first process ends, all end.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Signal, WaitOptions, set_parent_process_death_signal, wait};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use skiff_test_support::cgroups::Tree;
use skiff_test_support::guard::Run;

use crate::places;

/// The argument by which the program knows that it is the first process.
const FIRST: &str = "--as-first-process";

/// The argument by which it knows that it is inside.
const INSIDE: &str = "--inside";

/// The names of a run, for processes inside it.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    name: String,
    folder: PathBuf,
    bridge: String,
}

impl Scope {
    /// The name that is in every path and cgroup of the run.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its folder on disk.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The bridge of its pods.
    pub(crate) fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The cgroup tree that all its processes are in.
    pub(crate) fn cgroups(&self) -> Tree {
        Tree::new(&self.name)
    }

    fn from_args(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        Some(Self {
            name: args.next()?.into_string().ok()?,
            folder: args.next()?.into(),
            bridge: args.next()?.into_string().ok()?,
        })
    }

    fn args(&self) -> [OsString; 3] {
        [
            self.name.clone().into(),
            self.folder.clone().into(),
            self.bridge.clone().into(),
        ]
    }
}

/// The role of this process.
#[derive(Debug)]
pub(crate) enum Role {
    /// The process that the user started.
    Outside,
    /// The first process of the node.
    First(Scope),
    /// The process that starts the node and runs the cases.
    Inside(Scope),
}

impl Role {
    /// Reads it from the command line, and returns the user's arguments.
    pub(crate) fn read() -> (Self, Vec<OsString>) {
        let mut args = std::env::args_os();
        let program = args.next().unwrap_or_default();
        let mut rest: Vec<_> = args.collect();
        let role = rest.first().and_then(|word| word.to_str()).unwrap_or("");
        let make = match role {
            FIRST => Self::First,
            INSIDE => Self::Inside,
            _ => {
                rest.insert(0, program);
                return (Self::Outside, rest);
            }
        };
        let scope = Scope::from_args(rest.drain(..rest.len().min(4)).skip(1));
        rest.insert(0, program);
        match scope {
            Some(scope) => (make(scope), rest),
            None => (Self::Outside, rest),
        }
    }
}

/// Starts the first process of the node and waits for its end. To be called
/// before there are threads, in the namespaces of the run.
///
/// # Errors
///
/// When the kernel refuses, or the process was killed.
pub(crate) fn run(run: &Run, args: &[OsString]) -> anyhow::Result<bool> {
    let scope = Scope {
        name: run.name().to_owned(),
        folder: run.folder().to_owned(),
        bridge: run.bridge().to_owned(),
    };
    unshare(UnshareFlags::NEWPID).context("cannot make a process namespace")?;
    let status = again(FIRST, &scope, args)
        .status()
        .context("starting the first process")?;
    ended(status)
}

/// Lives as the first process of the node: reaps processes, until the one that it started
/// inside has ended.
///
/// # Errors
///
/// When the node's folders cannot be set up.
pub(crate) fn first_process(scope: &Scope, args: &[OsString]) -> anyhow::Result<ExitCode> {
    // Otherwise the node would outlive a starter that is killed.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    unshare(UnshareFlags::NEWNS).context("cannot make a mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("making mounts private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).context("mounting /proc")?;
    places::enter(scope)?;
    // As under systemd: pods that follow the node's mounts need it.
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    mount_change("/", shared).context("sharing mounts with pods")?;
    let inside = again(INSIDE, scope, args).spawn()?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_pid().cast_unsigned() == inside.id() => {
                let good = ended(ExitStatus::from_raw(status.as_raw()))?;
                return Ok(if good {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                });
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for processes"),
        }
    }
}

fn again(role: &str, scope: &Scope, args: &[OsString]) -> Command {
    // The path is read once per process, because /proc changes meanwhile.
    let program = std::env::current_exe().unwrap_or_default();
    let mut command = Command::new(program);
    command
        .arg(role)
        .args(scope.args())
        .args(args.iter().skip(1));
    command
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: what makes unsharing unsafe is a file table that is no longer
    // shared between threads; it is not among these flags.
    unsafe { unshare_unsafe(flags) }
}

fn ended(status: ExitStatus) -> anyhow::Result<bool> {
    match status.signal() {
        Some(signal) => bail!("it was killed by signal {signal}"),
        None => Ok(status.success()),
    }
}
