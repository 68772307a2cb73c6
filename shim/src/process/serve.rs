//! The life of a process that serves: from binding its port to its shutdown.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal};
use skiff_engine::Clock;
use skiff_trigger::{State, Triggers};
use skiff_trigger_http::{BindError, Server};
use tokio::signal::unix::{SignalKind, signal};

use super::rest::{self, Rest};
use super::signals::{HeldSignals, Signals};
use super::watchdog::Watchdog;
use super::workers::{self, LostWorker, Worker};
use super::{Process, output};
use crate::app::{App, Loaded, Stopper};
use crate::exit::ExitCode;

/// How long writing the last lines may take once everything else is done.
pub(super) const LAST_LINES: Duration = Duration::from_millis(300);

/// How long after its limit a worker that has not ended is killed: before the first
/// worker's own watchdog ends that one.
const KILL_AFTER: Duration = Duration::from_millis(400);

/// How long after the last instance has ended free memory is returned.
const MARGIN: Duration = Duration::from_secs(1);

/// Threads for calls that may block in the kernel: access to files of volumes. If as many
/// guests wait for a volume that does not answer, others have to wait too.
const WAITING_THREADS: usize = 64;

/// The result of starting an application, for the caller.
pub struct Serving {
    /// Where it listens; `None` for a component that is run to its end.
    pub address: Option<SocketAddr>,
    /// The triggers' routes and their handlers.
    pub routes: Vec<(String, String)>,
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WAITING_THREADS)
        .build()
        .context("cannot start the runtime")
}

/// Binds one listener for each worker, all on the same port.
fn bind(
    listen: SocketAddr,
    settings: &skiff_trigger_http::Settings,
    workers: usize,
) -> Result<Vec<Server>, BindError> {
    let first = Server::bind(listen, settings)?;
    let mut servers = Vec::new();
    for _ in 1..workers {
        servers.push(first.another()?);
    }
    servers.insert(0, first);
    Ok(servers)
}

/// Serves `app` on `listen` in all workers of the process; returns the exit code of this
/// worker.
pub(super) fn serve(
    process: &Process,
    app: App,
    listen: SocketAddr,
    ready: impl FnOnce(Serving) -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let loaded = app.load(app.reserve()?)?;
    // Bound first, so that no client connects to an application that then does not start.
    let mut servers = bind(listen, &process.http, process.workers)?;
    let serving = Serving {
        address: servers.first().map(Server::local_addr),
        routes: loaded.routes(),
    };
    if servers.len() > 1 {
        output::share().context("cannot share the output")?;
    }
    let held = HeldSignals::hold().context("cannot hold signals back")?;
    let forked = workers::fork(servers.len()).context("cannot start worker processes")?;
    let own = match forked {
        Worker::First(_) => 0,
        Worker::Other(number) => number,
    };
    if let Some(budget) = &process.budget {
        budget.is_of_worker(own);
    }
    let server = servers.swap_remove(own);
    drop(servers);
    let work = Work {
        app,
        loaded,
        server,
        triggers: Triggers::of_worker(own),
        drain: process.drain,
    };
    match forked {
        Worker::First(others) => lead(work, held, &others, || ready(serving)),
        Worker::Other(_) => {
            let code = lead(work, held, &[], || Ok(())).unwrap_or_else(|error| {
                tracing::error!(error = %format!("{error:#}"), "A worker process cannot serve");
                ExitCode::Internal.number()
            });
            output::flush(LAST_LINES);
            workers::exit(code)
        }
    }
}

/// What a worker needs.
struct Work {
    app: App,
    loaded: Loaded,
    server: Server,
    triggers: Triggers,
    drain: Duration,
}

/// A worker's life: it serves and reacts to signals; the first worker also watches the
/// others.
fn lead(
    work: Work,
    held: HeldSignals,
    others: &[Pid],
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let _clock = Clock::start().context("cannot start the clock")?;
    output::start_queueing();
    let Work {
        app,
        loaded,
        server,
        triggers,
        drain,
    } = work;
    let watchdog = Watchdog::start(drain)?;
    let (stopper, stop) = Stopper::new(drain);
    let runtime = runtime()?;
    let (code, told) = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let changes = signal(SignalKind::child()).context("cannot watch SIGCHLD")?;
        drop(held);
        let health = triggers.health();
        let reported = async {
            if health.started().await == State::Ready
                && let Err(error) = ready()
            {
                return error;
            }
            std::future::pending().await
        };
        let mut beats = watchdog.beats();
        let (rest, busy) = Rest::new();
        let server = server.with_beats(move |busy| {
            beats(busy);
            rest.is_busy(busy);
        });
        let gives_back = rest::give_back(busy, app.longest_idle() + MARGIN);
        let own = app.serve(loaded, server, triggers, stop);
        tokio::pin!(own);
        let code = tokio::select! {
            // Readiness is reported before a stop can be handled.
            biased;
            () = &mut own => Ok(ExitCode::Internal),
            error = reported => return Err(error),
            never = gives_back => match never {},
            number = signals.next() => {
                tracing::info!(signal = number, "Stopping: running requests are finished");
                Ok(ExitCode::Success)
            }
            lost = lose(others, changes) => {
                tracing::error!(%lost, "A worker has ended; stopping");
                Err(lost)
            }
        };
        let told = Instant::now();
        workers::end(others, Signal::TERM);
        if stopper.stop(told) {
            tokio::select! {
                () = own => {}
                _ = signals.next() => {
                    tracing::warn!("Second signal: ending immediately");
                    return anyhow::Ok((Ok(ExitCode::Interrupted), told));
                }
            }
        }
        Ok((code, told))
    })?;
    // Do not wait for calls that block in the kernel.
    runtime.shutdown_background();
    if matches!(code, Ok(ExitCode::Interrupted)) {
        workers::end(others, Signal::KILL);
    } else {
        workers::wait_until(others, told + drain + KILL_AFTER);
    }
    output::flush(LAST_LINES);
    Ok(code?.number())
}

/// Waits until a worker process has ended.
async fn lose(processes: &[Pid], mut changes: tokio::signal::unix::Signal) -> LostWorker {
    loop {
        if let Some(lost) = workers::ended(processes) {
            return lost;
        }
        if changes.recv().await.is_none() {
            return std::future::pending().await;
        }
    }
}
