//! All triggers of an application in one worker.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::BoxError;
use crate::health::Health;
use crate::trigger::{DrainOutcome, Run, Trigger};

/// Why triggers ended before they were asked to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A trigger that could not continue.
    #[error("the {trigger} trigger has failed")]
    Failed {
        /// Its type.
        trigger: &'static str,
        /// Its error.
        source: BoxError,
    },
    /// A trigger that ended although it was not asked to stop.
    #[error("the {trigger} trigger ended although it was not asked to stop")]
    Ended {
        /// Its type.
        trigger: &'static str,
    },
}

/// A serving trigger.
struct Served {
    kind: &'static str,
    future: Pin<Box<dyn Future<Output = Result<DrainOutcome, BoxError>> + Send>>,
}

/// The triggers of an application that one worker runs: served together, ready when the
/// last of them is, and stopped at the same time.
pub struct Triggers {
    worker: usize,
    health: Health,
    served: Vec<Served>,
}

impl fmt::Debug for Triggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.served.iter().map(|served| served.kind);
        f.debug_list().entries(kinds).finish()
    }
}

impl Triggers {
    /// An empty set, for the worker with this number, counted from 0.
    pub fn of_worker(number: usize) -> Self {
        Triggers {
            worker: number,
            health: Health::new(),
            served: Vec::new(),
        }
    }

    /// Adds a trigger if this worker runs it; otherwise it is dropped.
    #[must_use]
    pub fn with<T: Trigger>(mut self, trigger: T) -> Self {
        if T::RUNS.in_worker(self.worker) {
            let run = Run::new(self.health.clone());
            self.served.push(Served {
                kind: T::TYPE,
                future: Box::pin(trigger.serve(run)),
            });
        }
        self
    }

    /// The application's health in this worker.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Serves all until `stop`, which returns the moment of the order, and then until all
    /// have finished, at most `limit` after that moment. A worker without triggers only
    /// waits. Dropping the future ends everything at once.
    ///
    /// Unfinished work is added up.
    ///
    /// # Errors
    /// The first trigger that fails or ends early. The others have been stopped by then.
    pub async fn serve(
        mut self,
        limit: Duration,
        stop: impl Future<Output = Instant>,
    ) -> Result<DrainOutcome, ServeError> {
        let mut stop = pin!(stop);
        let (mut over, mut lost, mut left) = (false, None, 0);
        self.health.look();
        poll_fn(|cx| {
            if !over && let Poll::Ready(told) = stop.as_mut().poll(cx) {
                self.health.go(told + limit);
                over = true;
            }
            while let Some((trigger, result)) = self.next_that_ends(cx) {
                let error = match result {
                    Ok(outcome) => {
                        if let DrainOutcome::Cut { left: more } = outcome {
                            left += more;
                        }
                        if over {
                            continue;
                        }
                        ServeError::Ended { trigger }
                    }
                    Err(source) => ServeError::Failed { trigger, source },
                };
                self.health.fail(Instant::now() + limit);
                over = true;
                lost.get_or_insert(error);
            }
            match over && self.served.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        match (lost, left) {
            (Some(error), _) => Err(error),
            (None, 0) => Ok(DrainOutcome::Finished),
            (None, left) => Ok(DrainOutcome::Cut { left }),
        }
    }

    /// Polls all, and removes one that has ended.
    fn next_that_ends(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(&'static str, Result<DrainOutcome, BoxError>)> {
        for index in 0..self.served.len() {
            if let Poll::Ready(result) = self.served[index].future.as_mut().poll(cx) {
                return Some((self.served.swap_remove(index).kind, result));
            }
        }
        None
    }
}
