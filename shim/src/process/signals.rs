//! The signals that stop a process.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// SIGTERM, which Kubernetes sends, and SIGINT, which a terminal sends.
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).context("cannot watch SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot watch SIGINT")?,
        })
    }

    pub(super) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.interrupt.recv() => libc::SIGINT,
        }
    }
}

/// Holds SIGTERM and SIGINT back until it is dropped. A process without a handler would
/// die of them, and lose all connections that its listener had accepted.
pub(super) struct HeldSignals(libc::sigset_t);

impl HeldSignals {
    pub(super) fn hold() -> std::io::Result<Self> {
        // SAFETY: the sets are plain data, for which all zeroes is valid, and are
        // written before they are read.
        let (before, error) = unsafe {
            let mut held: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut held);
            libc::sigaddset(&mut held, libc::SIGTERM);
            libc::sigaddset(&mut held, libc::SIGINT);
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, &held, &mut before);
            (before, error)
        };
        match error {
            0 => Ok(HeldSignals(before)),
            error => Err(std::io::Error::from_raw_os_error(error)),
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // It fails for an unknown operation only.
        // SAFETY: the set came from the same call, and nothing is written.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}
