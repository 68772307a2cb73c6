//! Workers: processes, each with its own runtime and listener. Threads of one address
//! space would flush each other's address caches whenever an instance is created or
//! removed.

use std::num::NonZero;
use std::process;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::exit::ExitCode;

/// The standard library considers both the usable cores and the quota of the control
/// groups, and reads a dozen files for it each time.
static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZero::get));

/// More workers than cores would only take turns.
pub(super) fn count(asked: Option<NonZero<u32>>) -> usize {
    asked.map_or_else(|| *CORES, |asked| asked.get() as usize)
}

/// Which worker a process is after [`fork`].
pub(super) enum Worker {
    /// The first, which owns the others.
    First(Vec<Pid>),
    /// Another one, by its number from 1.
    Other(usize),
}

/// Becomes `workers` processes. Must be called while the process has one thread.
///
/// # Errors
/// If the kernel cannot create a process; those that exist already are ended.
pub(super) fn fork(workers: usize) -> std::io::Result<Worker> {
    let mut others = Vec::new();
    // SAFETY: no preconditions.
    let first = unsafe { libc::getpid() };
    for number in 1..workers {
        // SAFETY: the process has one thread (the caller's promise), so the child
        // finds every lock as its parent left it.
        match unsafe { libc::fork() } {
            0 => {
                // Without the first worker, nothing would end the others.
                // SAFETY: no pointers are passed.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                // The first worker may have ended before this one asked for the signal.
                // Then this one ends as if it had received it, and the next start removes
                // what the first has left behind.
                // SAFETY: no preconditions.
                if unsafe { libc::getppid() } != first {
                    exit(ExitCode::Killed.number());
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

/// Signals processes; those that are gone are skipped.
pub(super) fn end(workers: &[Pid], signal: Signal) {
    for &worker in workers {
        if let Err(error) = kill_process(worker, signal) {
            tracing::debug!(%error, worker = worker.as_raw_nonzero(), "Cannot signal a worker");
        }
    }
}

/// A worker that ended unexpectedly. Its requests are lost, and a pod without all its
/// workers would be slower without anybody noticing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("worker process {worker} {}", by(*status, *signal))]
pub struct LostWorker {
    /// Its process.
    pub worker: i32,
    /// Its exit code, if it exited.
    pub status: Option<i32>,
    /// The signal that killed it, if any.
    pub signal: Option<i32>,
}

fn by(status: Option<i32>, signal: Option<i32>) -> String {
    match (status, signal) {
        (Some(status), _) => format!("has exited with code {status}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "is gone".to_owned(),
    }
}

/// The first of `workers` that has ended, if any.
pub(super) fn ended(workers: &[Pid]) -> Option<LostWorker> {
    workers.iter().find_map(|&worker| {
        let status = match waitpid(Some(worker), WaitOptions::NOHANG) {
            Ok(None) => return None,
            Ok(Some((_, status))) => Some(status),
            Err(_) => None,
        };
        Some(LostWorker {
            worker: worker.as_raw_nonzero().get(),
            status: status.and_then(|status| status.exit_status()),
            signal: status.and_then(|status| status.terminating_signal()),
        })
    })
}

/// How often to check whether workers that were asked to end have ended.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until all have ended, and kills those that have not at `end_at`.
pub(super) fn wait_until(workers: &[Pid], end_at: Instant) {
    let mut left = workers.to_vec();
    loop {
        left.retain(|&worker| {
            let waited = waitpid(Some(worker), WaitOptions::NOHANG);
            matches!(waited, Ok(None) | Err(rustix::io::Errno::INTR))
        });
        if left.is_empty() {
            return;
        }
        if Instant::now() >= end_at {
            tracing::error!(workers = left.len(), "Workers do not end; they are killed");
            return end(&left, Signal::KILL);
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends this worker process.
pub(super) fn exit(code: i32) -> ! {
    process::exit(code)
}
