//! The clock that interrupts guests: epochs advance with the processor time this
//! process uses, so a guest that computes is asked to yield every few
//! milliseconds, and a process that is idle is never woken.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use wasmtime::{Engine, Store};

use crate::turns;

/// How much processor time a guest may use before it must yield to the other
/// requests of its worker. A probe waits for a few of them, and many kernels
/// look at such clocks every four milliseconds only; long against the
/// microseconds that a yield costs.
const TICK_NANOSECONDS: libc::c_long = 2_000_000;

/// Engines that tick: one a tier, and one more while they are swapped. Tests
/// have a few dozen.
static ENGINES: [AtomicPtr<Engine>; 64] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 64];

/// Signal handlers that run now. An engine is freed only when there are none.
static IN_HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Keeps the epochs of an engine going. Whatever has a store must have one: when
/// the last is gone, nothing interrupts the engine's guests any more.
#[derive(Debug, Clone)]
pub struct Ticks {
    _ticking: Arc<Ticking>,
}

impl Ticks {
    pub(crate) fn of(engine: &Engine) -> Self {
        Ticks {
            _ticking: Arc::new(register(engine)),
        }
    }

    /// Looks after guests of a store and makes them yield at every tick of the clock. Not to
    /// each other: timers and sockets are looked at whenever one of them has computed for a
    /// tick. A guest that is new waits for [`turn`](crate::turn) before it has a store.
    pub fn interrupt<T: Guest>(&self, store: &mut Store<T>) {
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            store.data_mut().ticked()?;
            Ok(turns::next())
        });
    }
}

/// What a store holds for a guest.
pub trait Guest: 'static {
    /// The guest has computed for a tick.
    ///
    /// # Errors
    /// Where it has to end.
    fn ticked(&mut self) -> wasmtime::Result<()>;
}

/// An engine's place in the list; leaving it when dropped.
#[derive(Debug)]
struct Ticking(Option<usize>);

fn register(engine: &Engine) -> Ticking {
    let engine = Box::into_raw(Box::new(engine.clone()));
    for (index, slot) in ENGINES.iter().enumerate() {
        let free = std::ptr::null_mut();
        if slot.compare_exchange(free, engine, SeqCst, SeqCst).is_ok() {
            return Ticking(Some(index));
        }
    }
    // SAFETY: the pointer came from `Box::into_raw` above and no slot took it.
    drop(unsafe { Box::from_raw(engine) });
    tracing::error!("Too many engines in one process; guests of this one are not interrupted");
    Ticking(None)
}

impl Drop for Ticking {
    fn drop(&mut self) {
        let Some(index) = self.0 else { return };
        let engine = ENGINES[index].swap(std::ptr::null_mut(), SeqCst);
        while IN_HANDLER.load(SeqCst) != 0 {
            std::hint::spin_loop();
        }
        // SAFETY: it came from `Box::into_raw` in `register`; it is out of the
        // list, and every handler that could have read it before has returned.
        drop(unsafe { Box::from_raw(engine) });
    }
}

/// Ticks since the process began.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// How many ticks there have been.
#[inline]
pub(crate) fn ticks() -> u64 {
    TICKS.load(Relaxed)
}

/// Advances all epochs. Only atomics, so it may run in a signal handler.
extern "C" fn on_tick(_signal: libc::c_int) {
    IN_HANDLER.fetch_add(1, SeqCst);
    TICKS.fetch_add(1, Relaxed);
    for slot in &ENGINES {
        let engine = slot.load(SeqCst);
        if !engine.is_null() {
            // SAFETY: `Ticking::drop` frees an engine only after it took it out
            // of the list and saw `IN_HANDLER` at zero; ours is above zero.
            unsafe { (*engine).increment_epoch() };
        }
    }
    IN_HANDLER.fetch_sub(1, SeqCst);
}

/// The running clock of this process.
#[derive(Debug)]
pub struct Clock(());

/// The process that started its clock, so that a second call does nothing and a
/// forked child starts its own.
static STARTED_IN: Mutex<i32> = Mutex::new(0);

impl Clock {
    /// How many ticks there have been in this process.
    pub fn ticks() -> u64 {
        ticks()
    }

    /// Starts the clock of this process. A forked process has none until it
    /// starts its own; a second start is harmless.
    ///
    /// # Errors
    /// What the kernel says to a timer or signal handler.
    pub fn start() -> std::io::Result<Clock> {
        // SAFETY: no preconditions.
        let process = unsafe { libc::getpid() };
        let mut started = STARTED_IN.lock().unwrap_or_else(|e| e.into_inner());
        if *started == process {
            return Ok(Clock(()));
        }
        // SAFETY: the structures are plain data for which all zeroes is valid,
        // the handler only touches atomics, and pointers outlive the calls.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_tick as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
            if libc::sigaction(libc::SIGVTALRM, &action, std::ptr::null_mut()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGVTALRM;
            let mut timer: libc::timer_t = std::ptr::null_mut();
            if libc::timer_create(libc::CLOCK_PROCESS_CPUTIME_ID, &mut event, &mut timer) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let tick = libc::timespec {
                tv_sec: 0,
                tv_nsec: TICK_NANOSECONDS,
            };
            let every = libc::itimerspec {
                it_interval: tick,
                it_value: tick,
            };
            if libc::timer_settime(timer, 0, &every, std::ptr::null_mut()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        *started = process;
        Ok(Clock(()))
    }
}
