//! Whose turn it is: guests that compute share a worker with everything else that it
//! does, and however many they are, one of them runs between two looks at the sockets.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use wasmtime::UpdateDeadline;

use crate::clock::ticks;

thread_local! {
    /// A worker has one thread, and its guests take turns on it.
    static TURNS: Arc<Turns> = Arc::new(Turns {
        waiting: AtomicUsize::new(0),
        turning: AtomicBool::new(false),
        began: AtomicU64::new(0),
        newcomers: Notify::new(),
        computing: Semaphore::new(0),
    });

    /// The tick at which the guest that runs was last polled.
    static POLLED: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// To be called whenever a guest is polled: one that has just been woken is told by it
/// from one that has computed for a whole tick.
#[inline]
pub fn guest_runs() {
    POLLED.set(ticks());
}

/// Waits until a new guest may begin. To be called before it has a place in the pool:
/// those that wait touch no memory.
#[inline]
pub async fn turn() {
    let over = TURNS.with(|turns| turns.is_over().then(|| Arc::clone(turns)));
    if let Some(turns) = over {
        turns.begin().await;
    }
}

/// What becomes of the guest that runs, when its time is over.
pub(crate) fn next() -> UpdateDeadline {
    let has_just_begun = POLLED.get() == ticks();
    if Handle::try_current().is_err() {
        // Whoever runs guests without a runtime brings the turns.
        return UpdateDeadline::Yield(1);
    }
    TURNS.with(|turns| {
        if has_just_begun && !turns.is_over() {
            return UpdateDeadline::Continue(1);
        }
        let turns = Arc::clone(turns);
        let wait: Pin<Box<dyn Future<Output = ()> + Send>> = if has_just_begun {
            Box::pin(turns.begin())
        } else {
            Box::pin(turns.go_on())
        };
        UpdateDeadline::YieldCustom(1, wait)
    })
}

/// A turn is what happens between two looks at sockets and timers. In each, guests
/// that have just come or were just woken run until one of them has computed for a
/// tick, and then one of those that compute goes on for a tick.
struct Turns {
    /// Guests in either queue.
    waiting: AtomicUsize,
    /// Whether a task brings the next turn.
    turning: AtomicBool,
    /// The tick at which the turn began.
    began: AtomicU64,
    newcomers: Notify,
    computing: Semaphore,
}

impl Turns {
    /// Whether guests wait and a tick has passed since the turn began.
    fn is_over(&self) -> bool {
        self.waiting.load(SeqCst) > 0 && self.began.load(SeqCst) != ticks()
    }

    /// Waits until a guest may begin that has not computed yet.
    async fn begin(self: Arc<Self>) {
        let _waiting = self.enter();
        loop {
            let next = self.newcomers.notified();
            if self.began.load(SeqCst) == ticks() {
                return;
            }
            next.await;
        }
    }

    /// Waits until a guest may go on that has computed for its tick.
    async fn go_on(self: Arc<Self>) {
        let _waiting = self.enter();
        // It is never closed.
        if let Ok(turn) = self.computing.acquire().await {
            turn.forget();
        }
    }

    fn enter(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, SeqCst);
        if !self.turning.swap(true, SeqCst) {
            // The first turn begins now: those that come meanwhile have it, and need not
            // wait for one that is over.
            self.began.store(ticks(), SeqCst);
            // Dropped when the runtime ends, and then the next one is spawned again.
            tokio::spawn(Turning(Arc::clone(self)).turn());
        }
        Waiting(Arc::clone(self))
    }
}

/// A guest's place in a queue.
struct Waiting(Arc<Turns>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

/// Brings one turn after the other while somebody waits.
struct Turning(Arc<Turns>);

impl Turning {
    async fn turn(self) {
        let turns = &self.0;
        while turns.waiting.load(SeqCst) > 0 {
            // Woken only after sockets and timers were looked at, and behind all that
            // they have woken.
            tokio::task::yield_now().await;
            turns.began.store(ticks(), SeqCst);
            turns.newcomers.notify_waiters();
            // One that nobody has taken is still there where the last guest is gone.
            if turns.computing.available_permits() == 0 {
                turns.computing.add_permits(1);
            }
        }
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        self.0.turning.store(false, SeqCst);
    }
}
