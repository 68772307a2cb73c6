//! Schedules guests: those that compute share a worker with everything else it does, and
//! however many there are, one of them runs between two polls of the sockets.

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

    /// The tick at which the running guest was last polled.
    static POLLED: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// To be called whenever a guest is polled: this distinguishes one that was just woken from
/// one that has computed for a whole tick.
#[inline]
pub fn guest_runs() {
    POLLED.set(ticks());
}

/// Waits until a new guest may begin. To be called before it has a place in the pool:
/// waiting guests use no memory.
#[inline]
pub async fn turn() {
    let over = TURNS.with(|turns| turns.is_over().then(|| Arc::clone(turns)));
    if let Some(turns) = over {
        turns.begin().await;
    }
}

/// What happens to the running guest when its time is over.
pub(crate) fn next() -> UpdateDeadline {
    let has_just_begun = POLLED.get() == ticks();
    if Handle::try_current().is_err() {
        // Without a runtime, the caller schedules the guests.
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

/// A turn is the time between two polls of sockets and timers. In each, new guests and
/// those that were just woken run until one of them has computed for a tick; then one of
/// the computing guests continues for a tick.
struct Turns {
    /// Guests in either queue.
    waiting: AtomicUsize,
    /// Whether a task will start the next turn.
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

    /// Waits until a guest that has not computed yet may begin.
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

    /// Waits until a guest that has computed for its tick may continue.
    async fn go_on(self: Arc<Self>) {
        let _waiting = self.enter();
        // The semaphore is never closed.
        if let Ok(turn) = self.computing.acquire().await {
            turn.forget();
        }
    }

    fn enter(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, SeqCst);
        if !self.turning.swap(true, SeqCst) {
            // The first turn begins now: guests that come meanwhile take part in it and
            // need not wait for a finished one.
            self.began.store(ticks(), SeqCst);
            // Dropped when the runtime ends; then the next one is spawned again.
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

/// Starts one turn after the other while guests wait.
struct Turning(Arc<Turns>);

impl Turning {
    async fn turn(self) {
        let turns = &self.0;
        while turns.waiting.load(SeqCst) > 0 {
            // Woken only after sockets and timers were polled, and after all tasks that
            // this has woken.
            tokio::task::yield_now().await;
            turns.began.store(ticks(), SeqCst);
            turns.newcomers.notify_waiters();
            // A permit that was not taken is still there after the last guest has left.
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

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::clock::tick;

    fn is_pending(future: &mut Pin<Box<impl Future<Output = ()>>>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        future.as_mut().poll(&mut context).is_pending()
    }

    #[test]
    fn a_new_guest_waits_for_the_next_turn_while_one_that_has_computed_waits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            assert!(!is_pending(&mut Box::pin(turn())), "nobody waits");
            let turns = TURNS.with(Arc::clone);
            let mut computing = Box::pin(turns.go_on());
            assert!(is_pending(&mut computing));
            tick();
            let mut new = Box::pin(turn());
            assert!(is_pending(&mut new), "the turn is over");
            new.await;
            computing.await;
            assert!(!is_pending(&mut Box::pin(turn())), "nobody waits");
        });
    }
}
