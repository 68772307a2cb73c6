//! The process that applications run in, apart from the applications: what it may have of
//! memory and descriptors, its standard output, its log, its workers, the signals that it
//! is told to stop by, and the way down.

mod logging;
pub mod output;
mod pod;
mod run;
mod serve;
mod settings;
mod signals;
mod watchdog;
mod workers;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use skiff_engine::{Budget, Engines};

use crate::app::{App, Given, Life};

pub use logging::{LogLevel, start_logging};
pub use serve::Serving;
pub use settings::{SHUTDOWN_DELAY_IN_POD, Settings};
pub use workers::LostWorker;

/// This process, and what it has for the applications in it.
pub struct Process {
    engines: Engines,
    /// Memory that guests of all workers share.
    budget: Option<Budget>,
    descriptors: pod::Descriptors,
    workers: usize,
    /// How long stopping may take.
    drain: Duration,
    /// What the HTTP trigger is told: its own settings, and what the process decides.
    http: skiff_trigger_http::Settings,
}

impl Process {
    /// Looks what this process may have, and takes as many descriptors as it may. A worker
    /// has room for `instances` at once.
    ///
    /// # Errors
    /// Where workers cannot share memory.
    pub fn new(
        settings: &Settings,
        http: &skiff_trigger_http::Settings,
        instances: u32,
    ) -> anyhow::Result<Self> {
        let workers = workers::count(settings.workers);
        let descriptors = pod::descriptors(http.max_connections);
        Ok(Process {
            engines: Engines::default(),
            budget: budget(workers, instances as usize)?,
            descriptors,
            workers,
            http: skiff_trigger_http::Settings {
                max_connections: descriptors.connections,
                shutdown_delay: settings.shutdown_delay.unwrap_or_default(),
                ..http.clone()
            },
            drain: settings.drain_limit,
        })
    }

    /// What an application is given in this process, with nothing of its own yet.
    pub fn given(&self) -> Given {
        Given {
            stdout: output::stdout(),
            stderr: output::stderr(),
            budget: self.budget.clone(),
            files_below: self.descriptors.guests,
            engines: self.engines.clone(),
            ..Given::default()
        }
    }

    /// Serves `app` on `listen`, or runs it to its end. `ready` is called once, when
    /// requests are taken. Must be called while the process has one thread.
    ///
    /// # Errors
    /// Everything that keeps it from starting; afterwards the answer is the exit code.
    pub fn serve(
        &self,
        app: App,
        listen: SocketAddr,
        ready: impl FnOnce(Serving) -> anyhow::Result<()>,
    ) -> anyhow::Result<i32> {
        match app.life() {
            Life::Run(component) => run::run(&app, &component, ready),
            Life::Serve => serve::serve(self, app, listen, ready),
        }
    }
}

fn budget(workers: usize, guests: usize) -> anyhow::Result<Option<Budget>> {
    let Some(bytes) = pod::memory() else {
        tracing::warn!(
            "It cannot be told how much memory the pod may have; its guests are not limited by it"
        );
        return Ok(None);
    };
    let budget = Budget::new(bytes, pod::memory_now, workers, guests);
    Ok(Some(budget.context("cannot share memory between workers")?))
}
