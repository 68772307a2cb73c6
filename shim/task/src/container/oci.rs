//! A container managed by libcontainer, each step in a separate process.
//!
//! libcontainer forks without executing, changes its working directory and limits, and a
//! hook it runs may hang. None of that may happen in the shim, which has threads and must
//! keep running. The processes are forked from one that was set aside at start, and end
//! with the step, so a running container needs no helper process.

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

/// How long a step may take before its process is killed. Namespaces, mounts and cgroups
/// take milliseconds; this leaves room for hooks on a busy node.
const STEP_SECONDS: u32 = 60;

/// Where libcontainer keeps a container's state: in its bundle, so that leftovers are
/// removed with the bundle.
pub(crate) const STATE: &str = "skiff";

/// libcontainer's error if the message that the first process is ready arrives before the
/// one that it exists: two processes send them, in no defined order.
const OVERTAKEN: &str = "received unexpected message: InitReady";

/// How often setting up a container is tried.
const TRIES: usize = 5;

/// A container created by libcontainer.
#[derive(Debug)]
pub(super) struct OciContainer {
    folder: PathBuf,
}

impl OciContainer {
    /// Creates the container's first process, which waits inside until it is started.
    /// `status` is closed when that process has executed its program; if it fails, it
    /// writes the reason first. Returns the process id on the node.
    ///
    /// # Errors
    /// libcontainer's error, with every cause.
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

    /// Lets the first process execute its program.
    ///
    /// # Errors
    /// libcontainer's error, with every cause.
    pub(super) fn start(&self) -> anyhow::Result<()> {
        step(in_zygote_start, self.folder.clone())
    }

    /// Sets new limits of the container whose first process is `pid`.
    ///
    /// # Errors
    /// If one cannot be set; all limits are then unchanged.
    pub(super) fn update(&self, pid: i32, limits: &Limits) -> anyhow::Result<()> {
        step(in_zygote_update, (self.folder.clone(), pid, limits.clone()))
    }

    /// Kills everything in the container's cgroup.
    ///
    /// # Errors
    /// libcontainer's error, with every cause.
    pub(super) fn kill_all(&self) -> anyhow::Result<()> {
        step(in_zygote_kill_all, self.folder.clone())
    }

    /// Removes the remaining cgroup and state. It is not an error if the container is
    /// gone.
    ///
    /// # Errors
    /// libcontainer's error, with every cause.
    pub(super) fn delete(&self) -> anyhow::Result<()> {
        step(in_zygote_delete, self.folder.clone())
    }
}

fn folder(bundle: &Path, id: &str) -> PathBuf {
    bundle.join(STATE).join(id)
}

/// Removes a container of a shim that no longer runs. Call this from a process with one
/// thread.
///
/// # Errors
/// libcontainer's error, with every cause.
pub(crate) fn clean_up(bundle: &Path, id: &str) -> anyhow::Result<()> {
    delete(&folder(bundle, id)).map_err(|error| anyhow!(error))
}

/// Runs a step in a new process. Its result is passed back as text.
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
            // Remove what was created; the first error is the one that counts.
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

/// Kills a step that hangs, which ends the wait for its answer.
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
