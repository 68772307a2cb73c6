//! Wakes a waiting instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::AcqRel, Ordering::Release};
use std::task::Wake;

use tokio::sync::Notify;

/// The instance is being polled.
const POLLED: u8 = 1;
/// It was woken since the poll began.
const RUNG: u8 = 2;

/// The waker of an instance, whoever polls it. A wake during a poll only means that it is
/// polled once more.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    state: AtomicU8,
    awake: Notify,
}

impl Alarm {
    pub(super) fn poll_begins(&self) {
        self.state.store(POLLED, Release);
    }

    /// Earlier wakes are handled within the poll that has begun.
    pub(super) fn is_heard(&self) {
        self.state.fetch_and(!RUNG, AcqRel);
    }

    /// Whether it must be polled again.
    pub(super) fn poll_ends(&self) -> bool {
        self.state.swap(0, AcqRel) & RUNG != 0
    }

    /// Wakes the instance's own task.
    pub(super) fn ring(&self) {
        self.awake.notify_one();
    }

    /// Waits for a wake. One wake is stored for a task that does not wait yet.
    pub(super) async fn rung(&self) {
        self.awake.notified().await;
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(RUNG, AcqRel) & POLLED == 0 {
            self.ring();
        }
    }
}
