//! A process at rest: it returns to the kernel the memory that its start, or a burst of
//! requests, has left with the allocator.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;

/// Reports to [`give_back`] whether there is something to do.
pub(super) struct Rest(watch::Sender<bool>);

impl Rest {
    pub(super) fn new() -> (Self, watch::Receiver<bool>) {
        let (busy, changes) = watch::channel(false);
        (Rest(busy), changes)
    }

    pub(super) fn is_busy(&self, busy: bool) {
        self.0
            .send_if_modified(|before| std::mem::replace(before, busy) != busy);
    }
}

/// Returns free memory each time the process has had nothing to do for `after`: instances
/// that waited for another request should have ended by then, as they hold memory between
/// what is free. A process that stays idle is not woken again.
pub(super) async fn give_back(mut busy: watch::Receiver<bool>, after: Duration) -> Infallible {
    while busy.wait_for(|busy| !busy).await.is_ok() {
        let until_busy = busy.wait_for(|busy| *busy);
        if tokio::time::timeout(after, until_busy).await.is_err() {
            // SAFETY: it may be called at any time, and takes the allocator's own locks.
            unsafe { libc::malloc_trim(0) };
            if busy.wait_for(|busy| *busy).await.is_err() {
                break;
            }
        }
    }
    // The server has ended.
    std::future::pending().await
}
