//! A process of a container: its standard streams, its state as set by containerd's
//! calls, and its end. What ends the whole container is handled by the container.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use containerd_shim::api::Status;
use containerd_shimkit::sandbox::Error;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::streams::Streams;
use crate::shim::reaper::{Ended, Exit};

/// A created process that is being watched.
pub(crate) struct Process {
    pid: i32,
    handle: OwnedFd,
    exit: Exit,
    streams: Streams,
    /// Held open for writing, so that its standard input ends only on request.
    stdin: Mutex<Option<File>>,
    life: Mutex<Life>,
}

/// A process's state as set by containerd's calls. Whether it still runs is a separate
/// question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Created,
    Starting,
    Started,
    Failed,
    Deleting,
}

impl Life {
    fn may_be_deleted(self, has_ended: bool) -> Result<(), Error> {
        match self {
            Life::Started if !has_ended => {
                Err(Error::FailedPrecondition("the container runs".into()))
            }
            Life::Starting => Err(Error::FailedPrecondition("the container starts".into())),
            _ => Ok(()),
        }
    }
}

impl Process {
    /// A child of the shim that waits to be started. `exit` must have been created before
    /// the process could end, so that its id cannot have been reused.
    ///
    /// # Errors
    /// If it is gone already.
    pub(super) fn new(
        pid: i32,
        exit: Exit,
        streams: Streams,
        stdin: Option<File>,
    ) -> io::Result<Self> {
        let number = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let handle = pidfd_open(number, PidfdFlags::empty())?;
        Ok(Self {
            pid,
            handle,
            exit,
            streams,
            stdin: Mutex::new(stdin),
            life: Mutex::new(Life::Created),
        })
    }

    /// Its process id on the node.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// Its standard streams.
    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.exit.now()
    }

    /// Its state, in containerd's terms.
    pub(crate) fn status(&self) -> Status {
        match *self.life() {
            _ if self.ended().is_some() => Status::STOPPED,
            Life::Created | Life::Starting => Status::CREATED,
            Life::Started => Status::RUNNING,
            Life::Failed | Life::Deleting => Status::STOPPED,
        }
    }

    /// Ends its standard input, once it has read what was already written.
    pub(crate) fn close_stdin(&self) {
        self.stdin
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Waits until it has ended.
    pub(super) async fn wait(&self) -> Ended {
        self.exit.wait().await
    }

    /// Marks it as starting, which is possible only once.
    ///
    /// # Errors
    /// If it was started before.
    pub(super) fn begin_start(&self) -> Result<(), Error> {
        let mut life = self.life();
        if *life != Life::Created {
            let message = "the container was started before";
            return Err(Error::FailedPrecondition(message.into()));
        }
        *life = Life::Starting;
        Ok(())
    }

    /// Records that its start has finished, successfully or not.
    pub(super) fn has_started(&self, well: bool) {
        *self.life() = match well {
            true => Life::Started,
            false => Life::Failed,
        };
    }

    /// Marks it as being removed.
    ///
    /// # Errors
    /// If it runs or is about to.
    pub(super) fn begin_delete(&self) -> Result<(), Error> {
        let mut life = self.life();
        life.may_be_deleted(self.ended().is_some())?;
        *life = Life::Deleting;
        Ok(())
    }

    /// Records that it could not be removed.
    pub(super) fn delete_failed(&self) {
        *self.life() = Life::Failed;
    }

    /// Sends it a signal. It is not an error if it is gone.
    ///
    /// # Errors
    /// The kernel's error.
    pub(super) fn send(&self, signal: i32) -> io::Result<()> {
        if self.ended().is_some() {
            return Ok(());
        }
        // rustix has no name for real-time signals, which containers may use.
        // SAFETY: the descriptor is open as long as `self`, and no information
        // is passed along.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.handle.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match io::Error::last_os_error() {
            _ if result == 0 => Ok(()),
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::reaper::Reaper;
    use std::process::Command;
    use std::sync::Arc;

    #[test]
    fn what_runs_or_starts_is_not_deleted() {
        for life in [Life::Started, Life::Starting] {
            let running = life.may_be_deleted(false);
            assert!(
                matches!(running, Err(Error::FailedPrecondition(_))),
                "{running:?}"
            );
        }
        for life in [Life::Created, Life::Failed] {
            life.may_be_deleted(false).unwrap();
        }
        Life::Started.may_be_deleted(true).unwrap();
    }

    #[tokio::test]
    async fn a_process_is_created_runs_is_killed_and_is_gone() {
        let reaper = Arc::new(Reaper::default());
        let hold = reaper.hold();
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process::new(pid, hold.watch(pid), Streams::default(), None).unwrap();
        assert_eq!(process.status(), Status::CREATED);
        process.begin_start().unwrap();
        assert!(process.begin_start().is_err() && process.begin_delete().is_err());
        process.has_started(true);
        assert_eq!(process.status(), Status::RUNNING);
        assert!(process.begin_delete().is_err());
        process.send(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        // It is not an error if it ends before the reaper knows.
        process.send(libc::SIGKILL).unwrap();
        reaper.ended(pid, Ended::now(137));
        assert_eq!(process.wait().await.code, 137);
        assert_eq!(process.status(), Status::STOPPED);
        process.begin_delete().unwrap();
    }
}
