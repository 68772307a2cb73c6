//! Serving an application until it is told to stop, or running it to its end.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal};
use skiff_engine::{Clock, Tier};
use skiff_host::Output;
use skiff_trigger::{DrainOutcome, Triggers};
use skiff_trigger_http::{BindError, Http, RouterHandle, Server};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::check::Life;
use super::handler::GuestHandler;
use super::load::App;
use super::watchdog::Watchdog;
use super::workers::{self, HeldSignals, LostWorker, Worker};
use crate::exit::ExitCode;
use crate::settings::Settings;

/// How often it is looked whether optimised code has come. Compiling takes
/// seconds, and the look is one failed open.
const LOOK_FOR_CODE: Duration = Duration::from_millis(500);

/// How long the last lines may take to be written once everything else is done.
const LAST_LINES: Duration = Duration::from_millis(300);

/// How long after its limit a worker that does not end by itself is killed: before the
/// first worker's own watchdog strikes.
const KILL_AFTER: Duration = Duration::from_millis(400);

/// Threads for calls that may wait in the kernel, which are those of files of volumes.
/// As many guests can wait for a volume that does not answer until others do.
const WAITING_THREADS: usize = 64;

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
        .max_blocking_threads(WAITING_THREADS)
        .build()
        .context("cannot start the runtime")
}

fn run(
    app: &App,
    component: &str,
    ready: impl FnOnce(Serving) -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let loaded = app.load()?;
    let command = app.command(&loaded, component)?;
    let _clock = Clock::start().context("cannot start the clock")?;
    skiff_host::queue_output();
    Watchdog::start(Duration::ZERO)?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        ready(Serving {
            address: None,
            routes: Vec::new(),
        })?;
        let run = async {
            let code = command.run().await.unwrap_or_else(|error| {
                tracing::error!(%error, "Component failed");
                ExitCode::Trapped.number()
            });
            // As a program's last write waits for a slow reader.
            Output::stdout().flushed().await;
            Output::stderr().flushed().await;
            match code {
                0 => lost_output().map_or(0, ExitCode::number),
                code => code,
            }
        };
        tokio::select! {
            code = run => Ok(code),
            // A program that does not handle the signal ends by it.
            number = signals.next() => Ok(128 + number),
        }
    });
    // A call that waits in the kernel is not waited for.
    runtime.shutdown_background();
    skiff_host::flush_output(LAST_LINES);
    result
}

/// A command that has ended well has not where what it printed is lost: it only could
/// not know. A reader that has left is told by nobody, as it wanted no more.
fn lost_output() -> Option<ExitCode> {
    let outputs = [
        ("standard output", Output::stdout()),
        ("standard error", Output::stderr()),
    ];
    let mut lost = None;
    for (name, output) in outputs {
        let failure = output.failure();
        if let Some(error) = failure.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            tracing::error!(%error, "What the component printed to {name} cannot be written");
            lost = Some(ExitCode::State);
        }
    }
    lost
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

fn trigger_settings(settings: &Settings, connections: usize) -> skiff_trigger_http::Settings {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    skiff_trigger_http::Settings {
        max_header_bytes: bytes(settings.max_header_size),
        max_header_count: settings.max_headers.get() as usize,
        header_timeout: settings.header_read_timeout,
        idle_timeout: settings.idle_timeout,
        gone_timeout: settings.client_gone_timeout,
        max_connections: connections,
        max_body_bytes: settings.max_request_body,
        shutdown_delay: settings.shutdown_delay.unwrap_or_default(),
        access_log: settings.access_log,
        ..skiff_trigger_http::Settings::default()
    }
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

fn listen_and_serve(
    app: App,
    settings: &Settings,
    listen: SocketAddr,
    ready: impl FnOnce(Serving) -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let loaded = app.load()?;
    let router = app.router(&loaded)?;
    // Nobody connects to what then does not start.
    let trigger = trigger_settings(settings, app.connections);
    let mut servers = bind(listen, &trigger, workers::count(settings.workers))?;
    let serving = Serving {
        address: servers.first().map(Server::local_addr),
        routes: router
            .routes()
            .map(|(route, by)| (route.to_owned(), by.to_owned()))
            .collect(),
    };
    let tier = loaded.tier;
    // The router holds what it needs; baseline code can go when that does.
    drop(loaded);
    if servers.len() > 1 {
        skiff_host::share_output().context("cannot share the output")?;
    }
    let held = HeldSignals::hold().context("cannot hold signals back")?;
    let forked = workers::fork(servers.len()).context("cannot start worker processes")?;
    let own = match forked {
        Worker::First(_) => 0,
        Worker::Other(number) => number,
    };
    if let Some(budget) = &app.budget {
        budget.is_of_worker(own);
    }
    let server = servers.swap_remove(own);
    drop(servers);
    let work = Work {
        app,
        number: own,
        drain: settings.drain_timeout,
        tier,
        router,
        server,
    };
    match forked {
        Worker::First(others) => lead(work, held, &others, || ready(serving)),
        Worker::Other(_) => {
            let code = lead(work, held, &[], || Ok(())).unwrap_or_else(|error| {
                tracing::error!(error = %format!("{error:#}"), "A worker process cannot serve");
                ExitCode::Internal.number()
            });
            skiff_host::flush_output(LAST_LINES);
            workers::exit(code)
        }
    }
}

/// What a worker works with.
struct Work {
    app: App,
    /// Its number, from 0.
    number: usize,
    drain: Duration,
    tier: Tier,
    router: skiff_trigger_http::Router<GuestHandler>,
    server: Server,
}

/// A worker's life: it serves, hears the signals, and looks after the others where
/// it is the first.
fn lead(
    work: Work,
    held: HeldSignals,
    others: &[Pid],
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let _clock = Clock::start().context("cannot start the clock")?;
    skiff_host::queue_output();
    let watchdog = Watchdog::start(work.drain)?;
    let drain = work.drain;
    let (stop, stopped) = watch::channel(None);
    let runtime = runtime()?;
    let (code, told) = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let changes = signal(SignalKind::child()).context("cannot watch SIGCHLD")?;
        drop(held);
        ready()?;
        let own = serve_until(work, watchdog, stopped);
        tokio::pin!(own);
        let code = tokio::select! {
            number = signals.next() => {
                tracing::info!(signal = number, "Stopping: running requests are finished");
                Ok(ExitCode::Success)
            }
            lost = lose(others, changes) => {
                tracing::error!(%lost, "A worker has ended; stopping");
                Err(lost)
            }
            () = &mut own => Ok(ExitCode::Internal),
        };
        let told = Instant::now();
        workers::end(others, Signal::TERM);
        if !stop.is_closed() {
            stop.send_replace(Some(told));
            tokio::select! {
                () = own => {}
                _ = signals.next() => {
                    tracing::warn!("Second signal: ending at once");
                    return anyhow::Ok((Ok(ExitCode::Interrupted), told));
                }
            }
        }
        Ok((code, told))
    })?;
    // A call that waits in the kernel is not waited for.
    runtime.shutdown_background();
    if matches!(code, Ok(ExitCode::Interrupted)) {
        workers::end(others, Signal::KILL);
    } else {
        workers::wait_until(others, told + drain + KILL_AFTER);
    }
    skiff_host::flush_output(LAST_LINES);
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

/// Serves until told to stop and drained. `stopped` becomes the moment it was told.
async fn serve_until(
    work: Work,
    watchdog: Watchdog,
    mut stopped: watch::Receiver<Option<Instant>>,
) {
    let Work {
        app,
        number,
        drain,
        tier,
        router,
        server,
    } = work;
    let routes = RouterHandle::new(router);
    let swapping = async {
        if tier == Tier::Baseline {
            swap_when_optimized(&app, &routes).await;
        }
        std::future::pending::<()>().await;
    };
    let mut told = stopped.clone();
    let shutdown = async move {
        // The sender lives as long as the worker; gone is as good as told.
        let told = told.wait_for(Option::is_some).await;
        told.ok()
            .and_then(|told| *told)
            .unwrap_or_else(Instant::now)
    };
    let server = server.with_beats(move |busy| watchdog.beat(busy));
    let triggers = Triggers::of_worker(number).with(Http::new(server, routes.clone()));
    let outcome = tokio::select! {
        outcome = triggers.serve(drain, shutdown) => outcome,
        () = swapping => return,
    };
    watchdog.beat(false);
    match outcome {
        Ok(DrainOutcome::Finished) => {}
        Ok(DrainOutcome::Cut { left }) => {
            tracing::warn!(connections = left, limit = ?drain, "The drain limit has passed; connections were closed with requests on them");
            return;
        }
        Err(error) => {
            tracing::error!(error = %format!("{:#}", anyhow::Error::from(error)), "A trigger failed");
            return;
        }
    }
    // One limit for both: for the connections and for what guests do after them.
    let told = (*stopped.borrow_and_update()).unwrap_or_else(Instant::now);
    let left = (told + drain).saturating_duration_since(Instant::now());
    if tokio::time::timeout(left, app.guests.idle()).await.is_err() {
        tracing::warn!(
            guests = app.guests.running(),
            limit = ?drain,
            "The drain limit has passed; guests were ended at work"
        );
    }
}

/// Puts optimised code in the place of baseline code once it is there. Requests
/// that run finish on the code they began with.
async fn swap_when_optimized(app: &App, routes: &RouterHandle<GuestHandler>) {
    let stays = |error: anyhow::Error| {
        tracing::warn!(error = %format!("{error:#}"), "Optimised code cannot be used; baseline code stays in use");
    };
    loop {
        tokio::time::sleep(LOOK_FOR_CODE).await;
        let loaded = match app.load_tier(Tier::Optimized) {
            Ok(None) => continue,
            Ok(Some(loaded)) => loaded,
            Err(error) => return stays(error),
        };
        match app.router(&loaded) {
            Ok(router) => {
                routes.swap(router);
                tracing::info!(
                    application = app.name(),
                    "Serving optimised code from now on"
                );
            }
            Err(error) => stays(error),
        }
        return;
    }
}
