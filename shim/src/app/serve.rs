//! Serving an application until it is told to stop, or running it to its end.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal};
use skiff_engine::{Clock, Tier};
use skiff_trigger::{BindError, DrainOutcome, RouterHandle, Server};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::check::Life;
use super::handler::GuestHandler;
use super::load::{App, Loaded};
use super::workers::{self, Worker};
use crate::exit::ExitCode;
use crate::settings::Settings;

/// How often it is looked whether optimised code has come. Compiling takes
/// seconds, and the look is one failed open.
const LOOK_FOR_CODE: Duration = Duration::from_millis(500);

/// How often the first worker looks after the others.
const LOOK_AFTER_WORKERS: Duration = Duration::from_secs(1);

/// What happened when an application was started, for whoever waits.
pub struct Serving {
    /// Where it listens; nothing for a component that is run to its end.
    pub address: Option<SocketAddr>,
    /// Triggers' routes and who answers them.
    pub routes: Vec<(String, String)>,
}

/// Serves `app` on `listen`, or runs it to its end. `ready` is called once, when
/// requests are taken. Must be called while the process has one thread.
///
/// # Errors
/// Everything that keeps it from starting; afterwards the answer is the exit code.
pub fn serve(
    app: App,
    settings: &Settings,
    listen: SocketAddr,
    ready: impl FnOnce(Serving) -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    match app.life() {
        Life::Run(component) => run(&app, &component, ready),
        Life::Serve => listen_and_serve(app, settings, listen, ready),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn run(
    app: &App,
    component: &str,
    ready: impl FnOnce(Serving) -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let loaded = app.load(1)?;
    let command = app.command(&loaded, component)?;
    let _clock = Clock::start().context("cannot start the clock")?;
    runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        ready(Serving {
            address: None,
            routes: Vec::new(),
        })?;
        tokio::select! {
            result = command.run() => match result {
                Ok(code) => Ok(code),
                Err(error) => {
                    tracing::error!(%error, "Component failed");
                    Ok(ExitCode::Trapped.number())
                }
            },
            // A program that does not handle the signal ends by it.
            number = signals.next() => Ok(128 + number),
        }
    })
}

/// SIGTERM, which Kubernetes sends, and SIGINT, which a terminal sends.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).context("cannot watch SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot watch SIGINT")?,
        })
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.interrupt.recv() => libc::SIGINT,
        }
    }
}

fn trigger_settings(settings: &Settings, workers: usize) -> skiff_trigger::Settings {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    skiff_trigger::Settings {
        max_header_bytes: bytes(settings.max_header_size),
        max_header_count: settings.max_headers.get() as usize,
        header_timeout: settings.header_read_timeout,
        idle_timeout: settings.idle_timeout,
        max_connections: (settings.max_connections.get() as usize).div_ceil(workers),
        max_body_bytes: settings.max_request_body,
        drain_limit: settings.drain_timeout,
        access_log: settings.access_log,
        ..skiff_trigger::Settings::default()
    }
}

/// Binds one listener for each worker, all on the same port.
fn bind(listen: SocketAddr, settings: &Settings, workers: usize) -> Result<Vec<Server>, BindError> {
    let settings = trigger_settings(settings, workers);
    let first = Server::bind(listen, &settings)?;
    let mut servers = Vec::new();
    for _ in 1..workers {
        servers.push(first.another()?);
    }
    servers.insert(0, first);
    Ok(servers)
}

fn listen_and_serve(
    app: App,
    settings: &Settings,
    listen: SocketAddr,
    ready: impl FnOnce(Serving) -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let count = workers::count(settings.workers);
    // How much code there is decides what the workers are, and with that how
    // many share the engine.
    let loaded = app.load(count)?;
    let processes = workers::are_processes(count, loaded.size);
    let mut servers = bind(listen, settings, count)?;
    let router = app.router(&loaded)?;
    let serving = Serving {
        address: servers.first().map(Server::local_addr),
        routes: router
            .routes()
            .map(|(route, by)| (route.to_owned(), by.to_owned()))
            .collect(),
    };
    let shared = Arc::new(Shared {
        app,
        drain: settings.drain_timeout,
        threads: if processes { 1 } else { count },
        optimized: OnceLock::new(),
    });
    if processes {
        skiff_host::share_output().context("cannot share the output")?;
        return match workers::fork(count).context("cannot start worker processes")? {
            Worker::First(others) => {
                let own = servers.swap_remove(0);
                drop(servers);
                first(&shared, loaded, router, own, others, Vec::new(), || {
                    ready(serving)
                })
            }
            Worker::Other(number) => {
                let own = servers.swap_remove(number);
                drop(servers);
                let code = first(&shared, loaded, router, own, Vec::new(), Vec::new(), || {
                    Ok(())
                });
                workers::exit(code.unwrap_or(ExitCode::Internal.number()))
            }
        };
    }
    let own = servers.remove(0);
    first(&shared, loaded, router, own, Vec::new(), servers, || {
        ready(serving)
    })
}

/// What the workers of one process have in common.
struct Shared {
    app: App,
    drain: Duration,
    threads: usize,
    /// Optimised code, loaded once for all of them.
    optimized: OnceLock<Arc<Loaded>>,
}

/// The first worker of a process: serves, has the other threads, looks after the
/// other processes, and hears the signals.
fn first(
    shared: &Arc<Shared>,
    loaded: Loaded,
    router: skiff_trigger::Router<GuestHandler>,
    server: Server,
    processes: Vec<Pid>,
    threads: Vec<Server>,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let _clock = Clock::start().context("cannot start the clock")?;
    let loaded = Arc::new(loaded);
    let (stop, stopped) = watch::channel(false);
    let mut handles = Vec::new();
    for server in threads {
        let router = shared.app.router(&loaded)?;
        let (shared, tier, stopped) = (Arc::clone(shared), loaded.tier, stopped.clone());
        let runtime = runtime()?;
        let thread = std::thread::Builder::new()
            .name("worker".to_owned())
            .spawn(move || runtime.block_on(worker(&shared, tier, router, server, stopped)));
        handles.push(thread.context("cannot start a worker thread")?);
    }
    let tier = loaded.tier;
    // Routers hold what they need; baseline code can go when the last one does.
    drop(loaded);
    let code = runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        ready()?;
        let own = worker(shared, tier, router, server, stopped);
        tokio::pin!(own);
        let lost = tokio::select! {
            number = signals.next() => {
                tracing::info!(signal = number, "Stopping: no new connections, running requests are finished");
                workers::end(&processes, Signal::TERM);
                None
            }
            lost = lose(&processes) => {
                tracing::error!(worker = lost.as_raw_nonzero(), "A worker process has ended by itself; stopping");
                workers::end(&processes, Signal::TERM);
                Some(())
            }
            () = &mut own => None,
        };
        stop.send_replace(true);
        tokio::select! {
            () = own => {}
            _ = signals.next() => {
                tracing::warn!("Second signal: ending at once");
                workers::end(&processes, Signal::KILL);
                return anyhow::Ok(ExitCode::Interrupted.number());
            }
        }
        Ok(match lost {
            None => ExitCode::Success.number(),
            Some(()) => ExitCode::Internal.number(),
        })
    })?;
    if code == ExitCode::Interrupted.number() {
        return Ok(code);
    }
    for handle in handles {
        if handle.join().is_err() {
            tracing::error!("A worker thread has panicked");
        }
    }
    workers::wait(&processes);
    Ok(code)
}

/// Waits until a worker process has ended.
async fn lose(processes: &[Pid]) -> Pid {
    if processes.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_AFTER_WORKERS).await;
        if let Some(lost) = workers::ended(processes) {
            return lost;
        }
    }
}

/// Serves on one listener until told to stop and drained.
async fn worker(
    shared: &Arc<Shared>,
    tier: Tier,
    router: skiff_trigger::Router<GuestHandler>,
    server: Server,
    mut stopped: watch::Receiver<bool>,
) {
    let routes = RouterHandle::new(router);
    let swapping = async {
        if tier == Tier::Baseline {
            swap_when_optimized(shared, &routes).await;
        }
        std::future::pending::<()>().await;
    };
    let shutdown = async move {
        // The sender lives as long as the first worker; gone is as good as told.
        stopped.wait_for(|stopped| *stopped).await.ok();
    };
    let outcome = tokio::select! {
        outcome = server.serve(routes.clone(), shutdown) => outcome,
        () = swapping => return,
    };
    match outcome {
        Ok(DrainOutcome::Finished) => {}
        Ok(DrainOutcome::Cut { connections }) => {
            tracing::warn!(connections, limit = ?shared.drain, "The drain limit has passed; connections were closed with requests on them");
            return;
        }
        Err(error) => {
            tracing::error!(%error, "The listener failed");
            return;
        }
    }
    if tokio::time::timeout(shared.drain, shared.app.guests.idle())
        .await
        .is_err()
    {
        tracing::warn!(
            guests = shared.app.guests.running(),
            "The drain limit has passed; guests were ended at work"
        );
    }
}

/// Puts optimised code in the place of baseline code once it is there. Requests
/// that run finish on the code they began with.
async fn swap_when_optimized(shared: &Shared, routes: &RouterHandle<GuestHandler>) {
    loop {
        tokio::time::sleep(LOOK_FOR_CODE).await;
        let loaded = match shared.optimized.get() {
            Some(loaded) => Arc::clone(loaded),
            None => match shared.app.load_tier(Tier::Optimized, shared.threads) {
                Ok(None) => continue,
                Ok(Some(loaded)) => Arc::clone(shared.optimized.get_or_init(|| Arc::new(loaded))),
                Err(error) => {
                    tracing::warn!(error = %format!("{error:#}"), "Optimised code cannot be loaded; baseline code stays in use");
                    return;
                }
            },
        };
        match shared.app.router(&loaded) {
            Ok(router) => {
                routes.swap(router);
                tracing::info!(
                    application = shared.app.name(),
                    "Serving optimised code from now on"
                );
            }
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "Optimised code cannot be linked; baseline code stays in use");
            }
        }
        return;
    }
}
