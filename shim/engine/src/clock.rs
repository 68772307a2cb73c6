//! The clock that interrupts guests: epochs advance with the processor time this process
//! uses, so a guest that computes has to yield every few milliseconds, and an idle process
//! is never woken.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use wasmtime::{Engine, Store};

use crate::turns;

/// How much processor time a guest may use before it must yield to the other requests of
/// its worker. A probe waits for a few of these intervals, many kernels check such clocks
/// only every four milliseconds, and a yield costs microseconds.
const TICK_NANOSECONDS: libc::c_long = 2_000_000;

/// The first in the list of ticking engines' places. Places are added in front and never
/// removed, so a signal handler may walk the list at any time; the place of a dropped
/// engine is reused. So there are as many places as there were engines at once.
static PLACES: AtomicPtr<Place> = AtomicPtr::new(std::ptr::null_mut());

/// A place for an engine that ticks.
struct Place {
    /// Null if the place is free.
    engine: AtomicPtr<Engine>,
    next: Option<&'static Place>,
}

/// All places.
fn places() -> impl Iterator<Item = &'static Place> {
    // SAFETY: it is null, or a place that was leaked and written before it was put there.
    let first = unsafe { PLACES.load(SeqCst).as_ref() };
    std::iter::successors(first, |place| place.next)
}

/// Signal handlers running now. An engine is freed only when there are none.
static IN_HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Keeps an engine's epochs advancing. Every owner of a store must hold one: when the last
/// is dropped, the engine's guests are no longer interrupted.
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

    /// Watches the guest of a store and makes it yield at every tick of the clock. It does
    /// not yield to another guest directly: timers and sockets are polled whenever a guest
    /// has computed for a tick. A new guest waits for [`turn`](crate::turn) before it has a
    /// store.
    pub fn interrupt<T: Guest>(&self, store: &mut Store<T>) {
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            store.data_mut().ticked()?;
            Ok(turns::next())
        });
    }
}

/// What a store keeps for a guest.
pub trait Guest: 'static {
    /// Called when the guest has computed for a tick.
    ///
    /// # Errors
    /// Where the guest has to be ended.
    fn ticked(&mut self) -> wasmtime::Result<()>;
}

/// An engine's place, which is freed on drop.
struct Ticking(&'static Place);

impl std::fmt::Debug for Ticking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticking")
    }
}

fn register(engine: &Engine) -> Ticking {
    let engine = Box::into_raw(Box::new(engine.clone()));
    let free = std::ptr::null_mut();
    let takes = |place: &&Place| {
        let taken = place.engine.compare_exchange(free, engine, SeqCst, SeqCst);
        taken.is_ok()
    };
    if let Some(place) = places().find(takes) {
        return Ticking(place);
    }
    let place = Box::into_raw(Box::new(Place {
        engine: AtomicPtr::new(engine),
        next: None,
    }));
    let mut first = PLACES.load(SeqCst);
    loop {
        // SAFETY: the place is not shared yet, and the first one is as in `places`.
        unsafe { (*place).next = first.as_ref() };
        match PLACES.compare_exchange(first, place, SeqCst, SeqCst) {
            // SAFETY: it is never freed, and no longer written to.
            Ok(_) => return Ticking(unsafe { &*place }),
            Err(other) => first = other,
        }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        let engine = self.0.engine.swap(std::ptr::null_mut(), SeqCst);
        while IN_HANDLER.load(SeqCst) != 0 {
            std::hint::spin_loop();
        }
        // SAFETY: it came from `Box::into_raw` in `register`; it is out of its
        // place, and every handler that could have read it before has returned.
        drop(unsafe { Box::from_raw(engine) });
    }
}

/// Ticks since the process began.
static TICKS: AtomicU64 = AtomicU64::new(0);

/// The number of ticks so far.
#[inline]
pub(crate) fn ticks() -> u64 {
    TICKS.load(Relaxed)
}

/// Lets a tick pass.
#[cfg(test)]
pub(crate) fn tick() {
    TICKS.fetch_add(1, Relaxed);
}

/// Advances all epochs. Uses only atomics, so it may run in a signal handler.
extern "C" fn on_tick(_signal: libc::c_int) {
    IN_HANDLER.fetch_add(1, SeqCst);
    TICKS.fetch_add(1, Relaxed);
    for place in places() {
        // SAFETY: `Ticking::drop` frees an engine only after it took it out of its
        // place and saw `IN_HANDLER` at zero; ours is above zero.
        if let Some(engine) = unsafe { place.engine.load(SeqCst).as_ref() } {
            engine.increment_epoch();
        }
    }
    IN_HANDLER.fetch_sub(1, SeqCst);
}

/// The running clock of this process.
#[derive(Debug)]
pub struct Clock(());

/// The process that started its clock, so that a second start does nothing and a forked
/// child starts its own.
static STARTED_IN: Mutex<i32> = Mutex::new(0);

impl Clock {
    /// The number of ticks in this process so far.
    pub fn ticks() -> u64 {
        ticks()
    }

    /// Starts the clock of this process. A forked process has none until it starts its own;
    /// a second start does nothing.
    ///
    /// # Errors
    /// The kernel's error for a timer or signal handler.
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
