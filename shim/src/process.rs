//! The process that applications run in: its memory and descriptor limits, standard
//! output, log, workers, stop signals and shutdown.

mod logging;
pub mod output;
mod pod;
mod rest;
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

/// This process, and what it provides to its applications.
pub struct Process {
    engines: Engines,
    /// Memory that guests of all workers share.
    budget: Option<Budget>,
    descriptors: pod::Descriptors,
    workers: usize,
    /// The longest time that stopping may take.
    drain: Duration,
    /// The HTTP trigger's own settings, and what the process decides for it.
    http: skiff_trigger_http::Settings,
}

impl Process {
    /// Determines the memory limit and raises the descriptor limit as far as allowed. A
    /// worker has room for `instances` at once.
    ///
    /// # Errors
    /// If workers cannot share memory.
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

    /// What this process gives to an application, before the application's own values are
    /// set.
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
    /// requests are accepted. Must be called while the process has one thread.
    ///
    /// # Errors
    /// Everything that keeps it from starting; after the start, the result is the exit
    /// code.
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
            "Cannot determine how much memory the pod may use; its guests are not limited by it"
        );
        return Ok(None);
    };
    let budget = Budget::new(bytes, pod::memory_now, workers, guests);
    Ok(Some(budget.context("cannot share memory between workers")?))
}
