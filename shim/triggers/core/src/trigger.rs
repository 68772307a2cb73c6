//! The interface of a trigger, and what it is given.

use std::error::Error;
use std::future::Future;
use std::time::Instant;

use crate::BoxError;
use crate::health::Health;

/// Which workers of an application run a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// Every worker: they share the incoming work, as the kernel distributes connections.
    OncePerWorker,
    /// Only the first worker: with more, a schedule or a subscription would do everything
    /// twice.
    OncePerApplication,
}

impl Runs {
    /// Whether the worker with this number, counted from 0, runs it.
    pub fn in_worker(self, number: usize) -> bool {
        match self {
            Runs::OncePerWorker => true,
            Runs::OncePerApplication => number == 0,
        }
    }
}

/// How a trigger stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum DrainOutcome {
    /// All accepted work was finished.
    Finished,
    /// The drain limit was reached.
    Cut {
        /// How much was not finished, in the trigger's own units.
        left: usize,
    },
}

/// One type of trigger of one application, as one worker runs it: all triggers of this type
/// in the manifest.
pub trait Trigger: Send + Sized + 'static {
    /// The type's name in manifests.
    const TYPE: &'static str;

    /// Which workers run it.
    const RUNS: Runs;

    /// A trigger's entry in the manifest.
    type Declared;

    /// Why an entry of the manifest is not valid.
    type Mistake: Error;

    /// Checks the manifest's entry for the trigger `id`. Nothing is opened or started.
    ///
    /// # Errors
    /// What is wrong with it, with the trigger's id.
    fn prepare(id: &str, declared: &Self::Declared) -> Result<(), Self::Mistake>;

    /// Serves until [`Run::stopped`], finishes the accepted work, and returns by the end
    /// that [`Run::stopped`] gives. Nothing happens before the future is polled, and
    /// dropping it ends everything at once.
    ///
    /// # Errors
    /// Why it cannot continue. The application then stops.
    fn serve(self, run: Run) -> impl Future<Output = Result<DrainOutcome, BoxError>> + Send;
}

/// A trigger's access to the application that it runs in.
#[derive(Debug)]
pub struct Run {
    health: Health,
    ready: bool,
}

impl Run {
    pub(crate) fn new(health: Health) -> Self {
        health.awaits();
        Run {
            health,
            ready: false,
        }
    }

    /// The trigger accepts work from now on. The application is ready when all its triggers
    /// are. Later calls do nothing.
    pub fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            self.health.one_is_ready();
        }
    }

    /// Waits until the trigger has to stop, and returns when it has to have ended.
    pub async fn stopped(&self) -> Instant {
        self.health.over().await
    }

    /// The application's health, for a trigger with a health endpoint.
    pub fn health(&self) -> &Health {
        &self.health
    }
}
