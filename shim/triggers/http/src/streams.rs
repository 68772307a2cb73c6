//! Tracks HTTP/2 streams whose client reads nothing more. The connection continues and its
//! socket is not full, so each stream has to be watched separately.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use hyper::rt::Executor;
use tokio::task::AbortHandle;

use crate::clock::{Clock, Mark};
use crate::watch::Watch;

/// One response while it is sent on a stream.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Since when the client has not taken the data it was given.
    given: Mark,
    task: OnceLock<AbortHandle>,
}

impl Flow {
    /// hyper polls for more: the client has taken everything.
    pub(crate) fn asked(&self) {
        self.given.clear();
    }

    pub(crate) fn gave(&self, clock: &Clock) {
        self.given.set(clock);
    }
}

/// The streams of one connection.
#[derive(Debug, Default)]
pub(crate) struct Flows(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    /// Created for the request that hyper is passing on; its task follows at once.
    next: Option<Arc<Flow>>,
    all: Vec<Weak<Flow>>,
}

impl Flows {
    pub(crate) fn begin(&self) -> Arc<Flow> {
        let flow = Arc::new(Flow::default());
        let mut list = self.list();
        list.next = Some(flow.clone());
        if list.all.len() == list.all.capacity() {
            // The list does not grow beyond the number of simultaneous streams.
            list.all.retain(|flow| flow.strong_count() > 0);
        }
        list.all.push(Arc::downgrade(&flow));
        flow
    }

    /// Resets the streams that have stalled for more than `ticks`, and returns how many.
    pub(crate) fn sweep(&self, ticks: u64, clock: &Clock) -> usize {
        let mut reset = 0;
        self.list().all.retain(|flow| {
            let Some(flow) = flow.upgrade() else {
                return false;
            };
            let stands = flow.given.is_older(ticks, clock);
            if stands && let Some(task) = flow.task.get() {
                task.abort();
                reset += 1;
            }
            !stands
        });
        reset
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the streams of one connection. They end with the connection, because then
/// everything they wait for fails.
#[derive(Debug, Clone)]
pub(crate) struct Streams(pub(crate) Arc<Watch>);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let next = self.0.flows.list().next.take();
        let task = tokio::spawn(stream).abort_handle();
        if let Some(flow) = next {
            flow.task.get_or_init(|| task);
        }
    }
}
