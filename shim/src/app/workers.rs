//! Workers: processes, each with a runtime and a listener of its own. Threads of one
//! address space would make each other flush their address caches whenever an
//! instance is made and unmade.

use std::num::NonZero;
use std::process;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// Workers beyond the processor's cores only take turns.
pub(super) fn count(asked: Option<NonZero<u32>>) -> usize {
    // The standard library knows both the cores we may run on and the quota of
    // our control groups.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    asked.map_or(cores, |asked| asked.get() as usize)
}

/// Who a process is after [`fork`].
pub(super) enum Worker {
    /// The first, which has the others.
    First(Vec<Pid>),
    /// Another one, by its number from 1.
    Other(usize),
}

/// Keeps SIGTERM and SIGINT waiting until it is dropped: a process that has no
/// handler yet would die of them, and of everything that its listener had taken.
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

/// Becomes `workers` processes. Must be called while the process has one thread.
///
/// # Errors
/// Where the kernel has no room; those that exist already are ended.
pub(super) fn fork(workers: usize) -> std::io::Result<Worker> {
    let mut others = Vec::new();
    // SAFETY: no preconditions.
    let first = unsafe { libc::getpid() };
    for number in 1..workers {
        // SAFETY: the process has one thread (the caller's promise), so the child
        // finds every lock as its parent left it.
        match unsafe { libc::fork() } {
            0 => {
                // Without the first worker nobody would end the others.
                // SAFETY: no pointers are passed.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                // It may have gone before this one asked to be told.
                // SAFETY: no preconditions.
                if unsafe { libc::getppid() } != first {
                    return Err(std::io::Error::other("the first worker has ended"));
                }
                // A terminal's signals go to the first, which passes them on once.
                // SAFETY: no pointers are passed.
                unsafe { libc::setpgid(0, 0) };
                return Ok(Worker::Other(number));
            }
            -1 => {
                let error = std::io::Error::last_os_error();
                end(&others, Signal::KILL);
                return Err(error);
            }
            child => others.extend(Pid::from_raw(child)),
        }
    }
    Ok(Worker::First(others))
}

/// Signals processes; one that is gone needs none.
pub(super) fn end(workers: &[Pid], signal: Signal) {
    for &worker in workers {
        if let Err(error) = kill_process(worker, signal) {
            tracing::debug!(%error, worker = worker.as_raw_nonzero(), "Cannot signal a worker");
        }
    }
}

/// The first of `workers` that has ended, where one has, and the signal that has
/// killed it.
pub(super) fn ended(workers: &[Pid]) -> Option<(Pid, Option<i32>)> {
    workers
        .iter()
        .find_map(|&worker| match waitpid(Some(worker), WaitOptions::NOHANG) {
            Ok(None) => None,
            Ok(Some((_, status))) => Some((worker, status.terminating_signal())),
            Err(_) => Some((worker, None)),
        })
}

/// Waits until all have ended.
pub(super) fn wait(workers: &[Pid]) {
    for &worker in workers {
        while matches!(
            waitpid(Some(worker), WaitOptions::empty()),
            Err(rustix::io::Errno::INTR)
        ) {}
    }
}

/// Ends this worker process.
pub(super) fn exit(code: i32) -> ! {
    process::exit(code)
}
