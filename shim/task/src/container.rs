//! A container: its specification becomes a control group, namespaces, files and a first
//! process, whose life is that of the container.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use containerd_shim::protos::events::task::TaskOOM;
use containerd_shimkit::sandbox::Error;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use self::oci::OciContainer;
use crate::Assistant;
use crate::application::{READY, read_status};
use crate::node::limits::Limits;
use crate::node::oom;
use crate::report::{Owner, hold};
use crate::service::Context;
use crate::shim::memory;
use crate::shim::reaper::Ended;

mod build;
mod causes;
mod create;
mod decide;
mod executor;
mod folders;
mod inside;
mod native;
mod oci;
mod privileges;
mod process;
mod rootfs;
mod streams;

pub(crate) use build::PLAN;
pub(crate) use create::Creation;
pub(crate) use oci::{STATE, clean_up};
pub(crate) use process::Process;
pub(crate) use rootfs::mount;
pub(crate) use streams::Streams;

/// How long a prepared application may take until it serves. It usually takes
/// milliseconds; kubelet gives up after two minutes.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How long a killed process may take to end. If it takes longer, it hangs in the kernel,
/// where nothing reaches it.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// A container, from its creation until its deletion.
pub(crate) struct Container {
    id: String,
    bundle: PathBuf,
    context: Arc<Context>,
    oci: OciContainer,
    /// Its first process; all others end with it.
    init: Process,
    /// The first process holds the other end until it has started.
    status: Mutex<Option<OwnedFd>>,
    /// The path of its control group in the specification.
    group: PathBuf,
    is_application: bool,
    /// Whether other processes of the container may outlive the first.
    shares_processes: bool,
    kills: Option<oom::Counter>,
    /// Set once everything is done that comes between the end of the first process and
    /// its report.
    settled: OnceCell<()>,
    owner: Owner,
    /// Works for the application in the background, until the application ends.
    assistant: Mutex<Option<Assistant>>,
    /// Held while the container is deleted.
    deletes: Mutex<()>,
}

impl Container {
    /// Creates the container, whose first process then waits to be started. Failures are
    /// also reported to its owner.
    ///
    /// # Errors
    /// Everything that can be wrong with the container and with its application.
    pub(crate) async fn new(creation: Creation, context: Arc<Context>) -> Result<Self, Error> {
        let stderr = creation.streams.stderr.clone();
        let mut owner = Owner::new(stderr, context.program.message);
        let created = create::create(creation, context, &mut owner).await;
        memory::give_back();
        created.map_err(|error| owner.tell(&error))
    }

    /// Its first process.
    pub(crate) fn init(&self) -> &Process {
        &self.init
    }

    /// One of its processes: the first has an empty name, others that of their `exec`.
    ///
    /// # Errors
    /// If there is no process of that name.
    pub(crate) fn process(&self, exec_id: &str) -> Result<&Process, Error> {
        match exec_id {
            "" => Ok(&self.init),
            id => Err(Error::NotFound(format!("process {id}"))),
        }
    }

    /// Its folder, created by containerd.
    pub(crate) fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// Starts it, once. If it is an application, waits until it serves.
    ///
    /// # Errors
    /// If it was started before, or its process reports a failure; the process is then
    /// killed.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        self.init.begin_start()?;
        let started = self.begin_and_tell().await;
        self.init.has_started(started.is_ok());
        started
    }

    /// Sends a signal to its first process, or kills all of them. Never waits: a process
    /// that hangs must not make its pod impossible to stop.
    ///
    /// # Errors
    /// If there is no such signal.
    pub(crate) fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        let number = i32::try_from(signal)
            .map_err(|_| Error::InvalidArgument(format!("signal {signal}")))?;
        self.init
            .send(number)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => Error::InvalidArgument(format!("signal {signal}")),
                _ => Error::Stdio(error),
            })?;
        if all && number == libc::SIGKILL {
            self.sweep();
        }
        Ok(())
    }

    /// Prevents others from deleting it.
    pub(crate) fn deleting(&self) -> MutexGuard<'_, ()> {
        self.deletes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends and removes it.
    ///
    /// # Errors
    /// If it runs, its process does not end, or some of it cannot be removed.
    pub(crate) async fn delete(&self) -> Result<(), Error> {
        self.init.begin_delete()?;
        let deleted = self.end().await;
        if deleted.is_err() {
            self.init.delete_failed();
        }
        deleted
    }

    /// Waits until its first process has ended.
    pub(crate) async fn wait(&self) -> Ended {
        let ended = self.init.wait().await;
        let settle = async || self.settle();
        self.settled.get_or_init(settle).await;
        ended
    }

    /// The ids of its processes; `None` if it has ended.
    pub(crate) fn processes(&self) -> Option<Vec<u32>> {
        if self.init.ended().is_some() {
            return None;
        }
        let listed = self.kills.as_ref().map(oom::Counter::processes);
        let mut processes = listed.unwrap_or_default();
        if !processes.contains(&self.init.pid()) {
            processes.push(self.init.pid());
        }
        Some(processes)
    }

    /// Sets new limits.
    ///
    /// # Errors
    /// If one cannot be set; all limits are then unchanged.
    pub(crate) fn update(&self, mut limits: Limits) -> Result<(), Error> {
        limits.group.clone_from(&self.group);
        limits.id.clone_from(&self.id);
        let pid = self.init.pid().cast_signed();
        let updated = self.oci.update(pid, &limits);
        memory::give_back();
        updated.map_err(|error| Error::Any(anyhow!("{error:#}")))
    }

    async fn begin_and_tell(&self) -> Result<(), Error> {
        let stderr = hold(self.owner.stderr());
        let started = self.begin().await;
        memory::give_back();
        let Err(error) = started else {
            return Ok(());
        };
        if let Err(error) = self.init.send(libc::SIGKILL) {
            log::warn!("cannot kill container {}: {error}", self.id);
        }
        let told = self.owner.tell(&error);
        drop(stderr);
        Err(told)
    }

    async fn begin(&self) -> anyhow::Result<()> {
        let status = self
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let status = status.context("the container was started before")?;
        self.oci.start()?;
        let told = match timeout(START_DEADLINE, read_status(status)).await {
            Ok(told) => told.context("cannot read the start status")?,
            Err(_) => bail!("did not start within {START_DEADLINE:?}"),
        };
        match (self.is_application, told.trim_end()) {
            (true, READY) | (false, "") => Ok(()),
            (true, "") => match timeout(KILL_DEADLINE, self.init.wait()).await {
                Ok(ended) => Err(ended_early(ended.code)),
                Err(_) => bail!("the container's process did not report its start status"),
            },
            (_, message) => bail!("{message}"),
        }
    }

    async fn end(&self) -> Result<(), Error> {
        self.init.send(libc::SIGKILL)?;
        // Nothing else may read its cgroup while that is removed.
        if timeout(KILL_DEADLINE, self.wait()).await.is_err() {
            let message = format!("process {} does not end when killed", self.init.pid());
            return Err(Error::FailedPrecondition(message));
        }
        let deleted = self.oci.delete();
        memory::give_back();
        deleted.map_err(|error| Error::Any(anyhow!("{error:#}")))
    }

    fn settle(&self) {
        let assistant = self.assistant.lock();
        drop(assistant.unwrap_or_else(PoisonError::into_inner).take());
        // Whichever of its processes was killed: it could not finish its work. The event
        // becomes the reason `OOMKilled` in the pod's status, and has to arrive before
        // the event that the task has ended.
        if self.kills.as_ref().is_some_and(oom::Counter::has_counted) {
            self.context.events.send(&TaskOOM {
                container_id: self.id.clone(),
                ..TaskOOM::default()
            });
        }
        if self.shares_processes {
            self.sweep();
        }
    }

    /// A container without a process namespace of its own (it uses the pod's or the
    /// node's) may leave processes behind, which the kernel does not end with the first.
    fn sweep(&self) {
        if let Err(error) = self.oci.kill_all() {
            log::warn!(
                "cannot end what container {} left behind: {error:#}",
                self.id
            );
        }
    }
}

fn ended_early(code: u32) -> anyhow::Error {
    match code
        .checked_sub(128)
        .filter(|signal| (1..=64).contains(signal))
    {
        Some(signal) => {
            anyhow!("the serving process was killed by signal {signal} before it was ready")
        }
        None => anyhow!("the serving process ended with exit code {code} before it was ready"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_is_told_with_signal_or_code() {
        assert_eq!(
            ended_early(137).to_string(),
            "the serving process was killed by signal 9 before it was ready"
        );
        assert_eq!(
            ended_early(78).to_string(),
            "the serving process ended with exit code 78 before it was ready"
        );
    }
}
