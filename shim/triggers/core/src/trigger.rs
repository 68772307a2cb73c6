//! What a trigger fulfils, and what it is given to do so.

use std::error::Error;
use std::future::Future;
use std::time::Instant;

use crate::BoxError;
use crate::health::Health;

/// Which workers of an application run a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// Every worker: they share what comes in, as the kernel spreads connections.
    OncePerWorker,
    /// The first worker alone: run twice, it would do everything twice, as a schedule or a
    /// subscription.
    OncePerApplication,
}

impl Runs {
    /// Whether the worker of this number, counted from 0, runs it.
    pub fn in_worker(self, number: usize) -> bool {
        match self {
            Runs::OncePerWorker => true,
            Runs::OncePerApplication => number == 0,
        }
    }
}

/// How a trigger came down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum DrainOutcome {
    /// Everything that was taken was finished.
    Finished,
    /// The drain limit passed.
    Cut {
        /// What was not finished, as the trigger counts it.
        left: usize,
    },
}

/// One type of trigger of one application, as one worker runs it: all triggers of the
/// manifest that are of this type.
pub trait Trigger: Send + Sized + 'static {
    /// The type, as manifests name it.
    const TYPE: &'static str;

    /// Which workers run it.
    const RUNS: Runs;

    /// What the manifest says of one trigger.
    type Declared;

    /// Why it cannot be what the manifest says.
    type Mistake: Error;

    /// Checks what the manifest says of the trigger `id`. Nothing is opened and nothing
    /// starts.
    ///
    /// # Errors
    /// What is wrong with it, with the trigger's id.
    fn prepare(id: &str, declared: &Self::Declared) -> Result<(), Self::Mistake>;

    /// Serves until [`Run::stopped`], finishes what was taken, and returns at the end that
    /// it gives at the latest. Nothing happens before the future is polled, and dropping it
    /// ends everything at once.
    ///
    /// # Errors
    /// Why it cannot go on. The application stops then.
    fn serve(self, run: Run) -> impl Future<Output = Result<DrainOutcome, BoxError>> + Send;
}

/// What a trigger has of the application that it runs in.
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

    /// From now on the trigger takes work. The application is ready when all its triggers
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

    /// The application's health, for a trigger that is asked for it.
    pub fn health(&self) -> &Health {
        &self.health
    }
}
