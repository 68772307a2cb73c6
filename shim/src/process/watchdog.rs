//! Ends a worker that hangs: two kernel timers, whose signals also reach a thread that is
//! stuck in the kernel or computes without end. No other thread is needed.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicPtr};
use std::time::Duration;

use anyhow::Context as _;

use crate::exit::ExitCode;

/// A worker checks its connections every few milliseconds, however much its guests
/// compute. If it has connections and has not done so for this long, it never will.
const HANGS: Duration = Duration::from_secs(30);

/// How long a late worker has to show that it is still alive: a pod may have been frozen
/// while its clock went on.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// How long a stop may exceed its limit before it is cut short.
const BEYOND_THE_LIMIT: Duration = Duration::from_millis(800);

const STUCK: &[u8] = b"skiff: a worker has hung for 35 s; it ends, and with it the pod\n";
const LATE: &[u8] = b"skiff: a worker did not stop within its limit; it ends at once\n";

/// A timer that is created once per process and never deleted, because signal handlers
/// use it.
#[derive(Clone, Copy)]
struct Timer(libc::timer_t);

impl Timer {
    fn new(signal: libc::c_int) -> io::Result<Timer> {
        let mut timer = MaybeUninit::uninit();
        // SAFETY: an event of zeroes is valid, and both pointers outlive the call, which
        // writes the timer where it succeeds.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = signal;
            match libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr()) {
                0 => Ok(Timer(timer.assume_init())),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    /// Fires once after this time; never if it is zero. May be called from a signal
    /// handler.
    fn set(self, after: Duration) {
        let after = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: libc::c_long::from(after.subsec_nanos().cast_signed()),
            },
        };
        // It fails for a timer or a time that does not exist only.
        // SAFETY: the timer is never deleted, and the pointer outlives the call.
        unsafe { libc::timer_settime(self.0, 0, &after, std::ptr::null_mut()) };
    }
}

/// The timer that a live worker resets, for its handler.
static BEATS: AtomicPtr<libc::c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Whether it has fired since its last reset.
static STRUCK: AtomicBool = AtomicBool::new(false);

/// Ends this process if it hangs or does not stop in time. There is only one.
#[derive(Clone, Copy)]
pub(super) struct Watchdog(());

impl Watchdog {
    /// Watches this process, which must not fork any more. After SIGTERM or SIGINT it has
    /// `limit` and a little more.
    pub(super) fn start(limit: Duration) -> anyhow::Result<Self> {
        // Nothing sends these signals by mistake.
        let (silence, late) = (libc::SIGRTMIN() + 1, libc::SIGRTMIN() + 2);
        handle(silence, on_silence).context("cannot handle a timer")?;
        handle(late, on_late).context("cannot handle a timer")?;
        let beats = Timer::new(silence).context("cannot make a timer")?;
        let stop = Timer::new(late).context("cannot make a timer")?;
        BEATS.store(beats.0, SeqCst);
        let limit = limit + BEYOND_THE_LIMIT;
        // Passed as an address, because timers are not `Send`.
        let stop = stop.0 as usize;
        for signal in [libc::SIGTERM, libc::SIGINT] {
            // SAFETY: setting a timer is allowed in a signal handler, and nothing else
            // is done.
            let registered = unsafe {
                signal_hook_registry::register(signal, move || {
                    Timer(stop as libc::timer_t).set(limit);
                })
            };
            registered.with_context(|| format!("cannot handle signal {signal}"))?;
        }
        Ok(Watchdog(()))
    }

    /// Records that the worker is alive, and whether it is busy.
    pub(super) fn beat(self, busy: bool) {
        STRUCK.store(false, SeqCst);
        Timer(BEATS.load(SeqCst)).set(if busy { HANGS } else { Duration::ZERO });
    }

    /// The function that a server calls to report whether it is busy. A server that has
    /// ended is not busy.
    pub(super) fn beats(self) -> impl FnMut(bool) + Send + 'static {
        struct Server(Watchdog);
        impl Server {
            fn beat(&self, busy: bool) {
                self.0.beat(busy);
            }
        }
        impl Drop for Server {
            fn drop(&mut self) {
                self.beat(false);
            }
        }
        let server = Server(self);
        move |busy| server.beat(busy)
    }
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: an action of zeroes is valid, the handlers only do what handlers may, and
    // the pointer outlives the call.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_silence(_signal: libc::c_int) {
    if STRUCK.swap(true, SeqCst) {
        end(STUCK);
    }
    Timer(BEATS.load(SeqCst)).set(LAST_CHANCE);
}

extern "C" fn on_late(_signal: libc::c_int) {
    end(LATE);
}

/// Ends the process from within a signal handler. Writes the reason if stderr has a
/// reader.
fn end(reason: &[u8]) {
    let mut poll = libc::pollfd {
        fd: libc::STDERR_FILENO,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: all three calls may be made by a signal handler, and the pointers outlive
    // them. A pipe that is ready takes as many bytes without waiting.
    unsafe {
        if libc::poll(&mut poll, 1, 0) == 1 {
            libc::write(libc::STDERR_FILENO, reason.as_ptr().cast(), reason.len());
        }
        libc::_exit(ExitCode::Internal.number());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a process ends that runs `prepares` and then hangs.
    fn end_of(prepares: impl FnOnce(Watchdog)) -> libc::c_int {
        // SAFETY: the child uses nothing that another thread may have left locked but
        // the allocator, which the C library keeps usable.
        match unsafe { libc::fork() } {
            0 => {
                prepares(Watchdog::start(Duration::ZERO).unwrap());
                loop {
                    std::hint::spin_loop();
                }
            }
            child => {
                let mut status = 0;
                // SAFETY: the child is ours, and the pointer outlives the call.
                unsafe { libc::waitpid(child, &mut status, 0) };
                assert!(libc::WIFEXITED(status), "{status}");
                libc::WEXITSTATUS(status)
            }
        }
    }

    #[test]
    fn a_worker_that_hears_no_signal_is_ended_after_its_limit() {
        // SAFETY: no pointers are passed.
        let end = end_of(|_| unsafe { assert_eq!(libc::raise(libc::SIGTERM), 0) });
        assert_eq!(end, ExitCode::Internal.number());
    }

    #[test]
    fn a_server_that_is_gone_is_not_missed() {
        let end = end_of(|watchdog| {
            let mut beats = watchdog.beats();
            beats(true);
            on_silence(0);
            drop(beats);
            assert!(!STRUCK.load(SeqCst));
            on_late(0);
        });
        assert_eq!(end, ExitCode::Internal.number());
    }

    #[test]
    fn a_worker_that_shows_no_life_is_ended_and_one_that_is_idle_is_not() {
        let end = end_of(|watchdog| {
            watchdog.beat(true);
            watchdog.beat(false);
            // As if the time had passed once.
            on_silence(0);
            assert!(STRUCK.load(SeqCst));
        });
        assert_eq!(end, ExitCode::Internal.number());
    }
}
