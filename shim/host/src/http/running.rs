//! Guests that run on after their response was delivered, or after the client
//! left: every one is tracked, so that the way down can wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};

use tokio::sync::Notify;

/// Counts guests at work that no connection waits for.
#[derive(Debug, Clone, Default)]
pub struct Guests(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    running: AtomicUsize,
    changed: Notify,
}

impl Guests {
    pub(crate) fn enter(&self) -> Entered {
        self.0.running.fetch_add(1, AcqRel);
        Entered(self.clone())
    }

    /// How many run now.
    pub fn running(&self) -> usize {
        self.0.running.load(Acquire)
    }

    /// Waits until none runs.
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

pub(crate) struct Entered(Guests);

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0.0.running.fetch_sub(1, AcqRel) == 1 {
            self.0.0.changed.notify_waiters();
        }
    }
}
