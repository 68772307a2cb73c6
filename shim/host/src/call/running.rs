//! Guests that continue after their response was delivered, or after the client left: every
//! one is tracked, so that a shutdown can wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts running guests that no connection waits for, and requests that wait for a guest.
#[derive(Debug, Clone)]
pub struct Guests(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    abandoned: Duration,
    running: AtomicUsize,
    waiting: AtomicUsize,
    changed: Notify,
}

impl Guests {
    /// A client that retries does so within seconds, and most proxies give up after a
    /// minute: no client will see what a guest still does then.
    pub const DEFAULT_ABANDONED: Duration = Duration::from_secs(60);

    /// Starts without guests. `abandoned` is how long a guest may continue if its client
    /// left before the response.
    pub fn new(abandoned: Duration) -> Self {
        Guests(Arc::new(Inner {
            abandoned,
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
        }))
    }

    pub(crate) fn abandoned(&self) -> Duration {
        self.0.abandoned
    }

    /// Counts a request as waiting until the result is dropped.
    pub fn waits(&self) -> Waits {
        self.0.waiting.fetch_add(1, AcqRel);
        Waits(self.clone())
    }

    /// Whether a request waits because all instances are busy.
    pub fn are_short(&self) -> bool {
        self.0.waiting.load(Acquire) > 0
    }

    pub(crate) fn enter(&self) -> Entered {
        self.0.running.fetch_add(1, AcqRel);
        Entered(self.clone())
    }

    /// How many run now.
    pub fn running(&self) -> usize {
        self.0.running.load(Acquire)
    }

    /// Waits until none is running.
    pub async fn idle(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.running() == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Default for Guests {
    fn default() -> Self {
        Guests::new(Guests::DEFAULT_ABANDONED)
    }
}

pub(crate) struct Entered(Guests);

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0.0.running.fetch_sub(1, AcqRel) == 1 {
            self.0.0.changed.notify_waiters();
        }
    }
}

/// A request that waits for an instance.
#[derive(Debug)]
pub struct Waits(Guests);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, AcqRel);
    }
}
