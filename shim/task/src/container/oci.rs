//! A container as libcontainer makes it, each step in a process of its own.
//!
//! libcontainer forks without executing, changes its folder and its limits, and
//! a hook it runs may hang: none of that may happen in the shim, which has threads
//! and must go on. The processes are forked from one that was set aside at start
//! and end with the step, so a running container has no helper beside it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use containerd_shimkit::zygote::{WireFd, Zygote};
use libcontainer::container::Container;
use serde::{Deserialize, Serialize};

use super::build::{Make, build, finish};
use super::causes::{chain, name_folder, with_causes};
use super::privileges;
use crate::node::limits::{self, Limits};

/// How long a step may take before its process is killed. Namespaces, mounts and
/// cgroups take milliseconds; this leaves room for hooks on a busy node.
const STEP_SECONDS: u32 = 60;

/// Where libcontainer keeps a container's state: in its bundle, so that whatever
/// is left when everything went wrong goes away with the bundle.
pub(super) const STATE: &str = "skiff";

/// What libcontainer says when the news of the first process being ready came before
/// those of its existence: two processes tell them, and nothing puts them in order.
const OVERTAKEN: &str = "received unexpected message: InitReady";

/// How often a container is set up before that is an error.
const TRIES: usize = 5;

/// A container that libcontainer knows.
#[derive(Debug)]
pub(super) struct OciContainer {
    folder: PathBuf,
}

impl OciContainer {
    /// Makes the container's first process, which waits inside until it is
    /// started. `status` is closed when that process has become what it is to be,
    /// or is told why not. Returns the process's number on the node.
    ///
    /// # Errors
    /// What libcontainer says, with every cause.
    pub(super) fn make(make: Make, status: OwnedFd) -> anyhow::Result<(Self, i32)> {
        let container = OciContainer {
            folder: folder(&make.bundle, &make.id),
        };
        for _ in 1..TRIES {
            let status = status.try_clone().context("cannot share a pipe")?;
            match step(in_zygote_make, (make.clone(), WireFd::new(status))) {
                Err(error) if error.to_string().contains(OVERTAKEN) => {
                    log::info!("setting up container {} again: {error:#}", make.id);
                    container.delete()?;
                }
                made => return made.map(|pid| (container, pid)),
            }
        }
        let pid = step(in_zygote_make, (make, WireFd::new(status)))?;
        Ok((container, pid))
    }

    /// Lets the first process become what it is to be.
    ///
    /// # Errors
    /// What libcontainer says, with every cause.
    pub(super) fn start(&self) -> anyhow::Result<()> {
        step(in_zygote_start, self.folder.clone())
    }

    /// Sets new limits of the container whose first process that is.
    ///
    /// # Errors
    /// Where one cannot be set; all are as they were then.
    pub(super) fn update(&self, pid: i32, limits: &Limits) -> anyhow::Result<()> {
        step(in_zygote_update, (self.folder.clone(), pid, limits.clone()))
    }

    /// Kills everything in the container's cgroup.
    ///
    /// # Errors
    /// What libcontainer says, with every cause.
    pub(super) fn kill_all(&self) -> anyhow::Result<()> {
        step(in_zygote_kill_all, self.folder.clone())
    }

    /// Removes what is left: cgroup, state. A container that is gone is fine.
    ///
    /// # Errors
    /// What libcontainer says, with every cause.
    pub(super) fn delete(&self) -> anyhow::Result<()> {
        step(in_zygote_delete, self.folder.clone())
    }
}

fn folder(bundle: &Path, id: &str) -> PathBuf {
    bundle.join(STATE).join(id)
}

/// Removes a container of a shim that is no more. For a process of one thread.
///
/// # Errors
/// What libcontainer says, with every cause.
pub(crate) fn clean_up(bundle: &Path, id: &str) -> anyhow::Result<()> {
    delete(&folder(bundle, id)).map_err(|error| anyhow!(error))
}

/// Runs a step in a new process. What it answers crosses as text.
fn step<Args, Answer>(
    step: fn(Args) -> Result<Answer, String>,
    args: Args,
) -> anyhow::Result<Answer>
where
    Args: Serialize + for<'a> Deserialize<'a> + 'static,
    Answer: Serialize + for<'a> Deserialize<'a> + 'static,
{
    let zygote = Zygote::global().spawn();
    let answer = zygote.try_run(step, args);
    answer
        .map_err(|error| anyhow!("the process that sets up the container ended: {error}"))?
        .map_err(|error| anyhow!(error))
}

fn in_zygote_make((make, status): (Make, WireFd<OwnedFd>)) -> Result<i32, String> {
    limit_time();
    with_causes(|| {
        privileges::inherit_none(&make.id)?;
        let pid = build(&make, status.into_inner())?;
        if let Err(error) = finish(&make, pid) {
            // What was made has to go, and what went wrong first is what counts.
            delete(&folder(&make.bundle, &make.id)).ok();
            return Err(error);
        }
        Ok(pid)
    })
    .map_err(|error| name_folder(error, &make.cwd))
}

fn in_zygote_start(folder: PathBuf) -> Result<(), String> {
    limit_time();
    let mut container = load(folder)?;
    container.start().map_err(|error| chain(&error))
}

fn in_zygote_update((folder, pid, limits): (PathBuf, i32, Limits)) -> Result<(), String> {
    limit_time();
    let systemd = load(folder)?.systemd();
    limits::set(pid, systemd, &limits).map_err(|error| chain(&error))
}

fn in_zygote_kill_all(folder: PathBuf) -> Result<(), String> {
    limit_time();
    let signal =
        libcontainer::signal::Signal::try_from(libc::SIGKILL).map_err(|error| error.to_string())?;
    let mut container = load(folder)?;
    container.kill(signal, true).map_err(|error| chain(&error))
}

fn in_zygote_delete(folder: PathBuf) -> Result<(), String> {
    limit_time();
    delete(&folder)
}

fn load(folder: PathBuf) -> Result<Container, String> {
    Container::load(folder).map_err(|error| chain(&error))
}

/// A step that hangs is killed, which ends the wait for its answer.
fn limit_time() {
    // SAFETY: no handler is involved; the default action ends the process.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(STEP_SECONDS);
    }
}

fn delete(folder: &Path) -> Result<(), String> {
    if !folder.exists() {
        return Ok(());
    }
    let mut container = load(folder.to_owned())?;
    container.delete(true).map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleting_what_is_gone_is_fine() {
        delete(Path::new("/does/not/exist")).unwrap();
    }
}
