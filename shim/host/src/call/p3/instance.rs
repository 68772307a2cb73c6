//! One instance and what drives it: its guest is run directly by the task that brings a
//! request, and by a task of its own while it waits for something. So a guest that answers
//! at once needs no task, queue or wake-up.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use skiff_engine::Permit;
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::Service;

use super::Shared;
use super::alarm::Alarm;
use super::kept::{Bodies, Kept};
use crate::call::p2::tell_abandoned;
use crate::call::running::Entered;
use crate::call::{Cut, GuestError, one_line};
use crate::interfaces::http::Origin;
use crate::state::{State, http_view};

/// How often a guest that wakes itself is polled before other tasks run.
const TURNS: usize = 4;

/// A request on its way to a guest.
pub(super) struct Job {
    /// What it passes on to the requests that its guest sends, if it may send some.
    pub(super) origin: Option<Origin>,
    pub(super) request: Request,
    /// The result of reading the request's body.
    pub(super) sent: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
    pub(super) answer: oneshot::Sender<Result<http::Response<Arc<Kept>>, GuestError>>,
}

/// State shared by the guest's side and the requests' side.
#[derive(Default)]
struct Desk {
    /// The request that is being passed on.
    job: Mutex<Option<Job>>,
    /// Requests taken on in its lifetime.
    served: AtomicUsize,
    /// Requests without an answer yet.
    open: AtomicUsize,
    /// Requests taken on since the guest was last idle.
    together: AtomicUsize,
    /// The guest is idle.
    idle: AtomicBool,
    /// How often it has become idle.
    rests: AtomicUsize,
    /// `rests` plus one, at the time the last client left that it works for.
    left: AtomicUsize,
    /// Response bodies that it writes.
    bodies: Bodies,
    /// Why it ended early.
    failed: OnceLock<String>,
    /// Whether a client has seen that it ended.
    seen: AtomicBool,
    /// When it was last offered a request, it was computing or refused to take one.
    reluctant: AtomicBool,
    /// It takes no more requests.
    retired: AtomicBool,
}

impl Desk {
    fn job(&self) -> std::sync::MutexGuard<'_, Option<Job>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self) {
        if !self.idle.swap(true, Relaxed) {
            self.rests.fetch_add(1, Relaxed);
        }
    }
}

/// Seals an instance's bodies on drop, before the instance is dropped.
struct Seals(Arc<Desk>);

impl Drop for Seals {
    fn drop(&mut self) {
        let cut = match self.0.failed.get() {
            Some(reason) => Cut::Failed(reason.clone()),
            None => Cut::Unfinished,
        };
        if self.0.bodies.seal(&cut) {
            self.0.seen.store(true, Relaxed);
        }
    }
}

pub(super) struct Instance {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    alarm: Arc<Alarm>,
    waker: Waker,
    /// `None` after it has ended.
    run: Mutex<Option<Run>>,
}

/// A running guest.
struct Run {
    guest: Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>,
    /// Held while the guest does anything that a shutdown must wait for.
    working: Option<Entered>,
    idle_since: Instant,
    /// When it is ended in any case.
    until: Option<Instant>,
}

impl Instance {
    /// Starts an instance: it runs until it has served its number of requests, was idle for
    /// long enough, traps, or exceeds its time.
    pub(super) fn start(
        shared: &Arc<Shared>,
        store: Store<State>,
        service: Service,
        permit: Permit,
    ) -> Arc<Self> {
        let desk = Arc::<Desk>::default();
        let alarm = Arc::<Alarm>::default();
        let requests = shared.terms.reuse.requests;
        let guest = Box::pin(live(
            store,
            service,
            (Arc::clone(&desk), Arc::clone(&alarm)),
            requests,
            permit,
        ));
        let instance = Arc::new(Instance {
            shared: Arc::clone(shared),
            desk,
            waker: Waker::from(Arc::clone(&alarm)),
            alarm,
            run: Mutex::new(Some(Run {
                guest,
                working: None,
                idle_since: Instant::now(),
                until: None,
            })),
        });
        tokio::spawn(Arc::clone(&instance).attend());
        instance
    }

    /// Whether to offer it a request.
    pub(super) fn is_willing(&self) -> bool {
        let reuse = &self.shared.terms.reuse;
        !self.desk.retired.load(Relaxed)
            && !self.desk.reluctant.load(Relaxed)
            && self.desk.open.load(Relaxed) < reuse.concurrent
            && self.desk.served.load(Relaxed) < reuse.requests
    }

    /// Passes a request on and runs the guest as far as possible. Returns the request if
    /// the guest does not take it now.
    pub(super) fn offer(self: &Arc<Self>, job: Job) -> Option<Job> {
        match &mut *self.desk.job() {
            Some(_) => return Some(job),
            none => *none = Some(job),
        }
        self.drive();
        let refused = self.desk.job().take();
        if refused.is_some() {
            self.desk.reluctant.store(true, Relaxed);
        }
        refused
    }

    /// Runs the guest until it waits for something.
    fn drive(self: &Arc<Self>) {
        // The holder of the lock already drives it.
        let Ok(mut run) = self.run.try_lock() else {
            return self.alarm.ring();
        };
        let Some(running) = run.as_mut() else { return };
        let mut cx = Context::from_waker(&self.waker);
        for _ in 0..TURNS {
            self.alarm.poll_begins();
            skiff_engine::guest_runs();
            if let Poll::Ready(result) = running.guest.as_mut().poll(&mut cx) {
                *run = None;
                drop(run);
                return self.ended(result);
            }
            if !self.alarm.poll_ends() {
                return self.note(running);
            }
        }
        self.note(running);
        self.alarm.ring();
    }

    fn note(&self, run: &mut Run) {
        if !self.desk.idle.load(Relaxed) {
            run.working
                .get_or_insert_with(|| self.shared.guests.enter());
        } else {
            run.working = None;
            run.idle_since = Instant::now();
        }
    }

    fn ended(self: &Arc<Self>, result: wasmtime::Result<()>) {
        self.desk.retired.store(true, Relaxed);
        self.shared.forget(self);
        if let Err(error) = result {
            let reason = self.desk.failed.get_or_init(|| one_line(&error));
            if self.desk.open.load(Relaxed) == 0 && !self.desk.seen.load(Relaxed) {
                tracing::error!(component_id = %self.shared.grants.component, error = %reason, "Guest failed after its response");
            }
        }
        // Its task has no more work.
        self.alarm.ring();
    }

    /// Why requests were left without a response.
    pub(super) fn failure(&self) -> String {
        let failed = self.desk.failed.get().cloned();
        failed.unwrap_or_else(|| "its instance was ended by another request".to_owned())
    }

    /// A request has taken longer than `limit`. Other requests of the instance get as long
    /// again; if there are none, it ends at once.
    pub(super) fn is_overdue(self: &Arc<Self>, limit: Duration) {
        self.desk.retired.store(true, Relaxed);
        if self.desk.together.load(Relaxed) <= 1 {
            return self.end();
        }
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = run.as_mut() {
            run.until.get_or_insert_with(|| Instant::now() + limit);
        }
        self.alarm.ring();
    }

    /// How often it has become idle so far.
    pub(super) fn rests(&self) -> usize {
        self.desk.rests.load(Relaxed)
    }

    /// A body is not read any more. It may have been the last thing that the instance was
    /// kept for.
    pub(super) fn body_is_over(&self) {
        if self.desk.idle.load(Relaxed) && !self.is_willing() {
            self.alarm.ring();
        }
    }

    /// How long it may work for a client that has left.
    pub(super) fn patience(&self) -> Duration {
        self.shared.guests.abandoned()
    }

    /// Called when a client leaves. Returns whether this is the first client to leave since
    /// the guest was last idle: checking once is enough.
    pub(super) fn begins_abandoned(&self, rests: usize) -> bool {
        !self.desk.idle.load(Relaxed)
            && self.rests() == rests
            && self.desk.left.swap(rests + 1, Relaxed) != rests + 1
    }

    /// Ends it if it has been working since the given number of rests, for a client that
    /// left `limit` ago.
    pub(super) fn is_abandoned(self: &Arc<Self>, rests: usize, limit: Duration) {
        let works = !self.desk.idle.load(Relaxed) && self.rests() == rests;
        if works && !self.desk.retired.load(Relaxed) {
            tell_abandoned(&self.shared.grants.component, limit);
            self.is_overdue(limit);
        }
    }

    fn end(self: &Arc<Self>) {
        let run = self
            .run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(run) = run {
            drop(run);
            self.ended(Ok(()));
        }
    }

    /// Runs the guest when it is woken, and ends it in time.
    async fn attend(self: Arc<Self>) {
        let mut sleep = pin!(tokio::time::sleep(self.shared.terms.reuse.idle));
        loop {
            tokio::select! {
                () = self.alarm.rung() => self.drive(),
                () = &mut sleep => {}
            }
            let now = Instant::now();
            match self.expires(now) {
                None => return,
                Some(at) if at <= now => return self.end(),
                // A timer that would fire too early is left unchanged: this costs one check
                // when it fires and nothing for each request.
                Some(at) if sleep.is_elapsed() || at < sleep.deadline() => {
                    sleep.as_mut().reset(at);
                }
                Some(_) => {}
            }
        }
    }

    /// When to check its time limits again; `None` after it has ended.
    fn expires(&self, now: Instant) -> Option<Instant> {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let run = run.as_ref()?;
        let idle = self.shared.terms.reuse.idle;
        let at = match (run.until, self.desk.idle.load(Relaxed)) {
            (Some(until), _) => until,
            // What the guest has passed on goes on without it.
            (None, true) if self.desk.bodies.are_open() => now + idle,
            (None, true) => run.idle_since + idle,
            (None, false) => now + idle,
        };
        Some(at)
    }
}

/// The guest's main loop: takes requests from the desk and answers them.
async fn live(
    mut store: Store<State>,
    service: Service,
    (desk, alarm): (Arc<Desk>, Arc<Alarm>),
    requests: usize,
    _permit: Permit,
) -> wasmtime::Result<()> {
    let _seals = Seals(Arc::clone(&desk));
    let entry = *service.wasi_http_handler().func_handle().func();
    let serve = async |accessor: &Accessor<State>| {
        let mut calls = Vec::new();
        std::future::poll_fn(|cx| {
            // All earlier wakes are handled in this pass.
            alarm.is_heard();
            let mut waiting = desk.job();
            let asked = waiting.is_some() || desk.reluctant.load(Relaxed);
            if asked
                && accessor
                    .poll_ready_for_concurrent_call(entry, cx)
                    .is_ready()
            {
                desk.reluctant.store(false, Relaxed);
                if let Some(job) = waiting.take() {
                    desk.idle.store(false, Relaxed);
                    desk.served.fetch_add(1, Relaxed);
                    desk.together.fetch_add(1, Relaxed);
                    calls.push(Box::pin(call(accessor, &service, &desk, job)));
                }
            }
            drop(waiting);
            let mut index = 0;
            while let Some(running) = calls.get_mut(index) {
                match running.as_mut().poll(cx) {
                    Poll::Pending => index += 1,
                    Poll::Ready(Ok(())) => drop(calls.swap_remove(index)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            desk.open.store(calls.len(), Relaxed);
            if calls.is_empty() && accessor.poll_no_interesting_tasks(cx).is_ready() {
                desk.together.store(0, Relaxed);
                desk.rest();
                let is_spent = desk.retired.load(Relaxed) || desk.served.load(Relaxed) >= requests;
                if is_spent && !desk.bodies.are_open() {
                    return Poll::Ready(Ok(()));
                }
            }
            Poll::Pending
        })
        .await
    };
    let ended = store.run_concurrent(serve).await.and_then(|ended| ended);
    if let Err(error) = &ended {
        desk.failed.get_or_init(|| one_line(error));
    }
    ended
}

/// One request, up to its response's head.
async fn call(
    accessor: &Accessor<State>,
    service: &Service,
    desk: &Desk,
    job: Job,
) -> wasmtime::Result<()> {
    let Job {
        origin,
        request,
        sent,
        answer,
    } = job;
    let request = accessor.with(|mut store| http_view(store.get()).table.push(request));
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            answer.send(Err(GuestError::Request(error.into()))).ok();
            return Ok(());
        }
    };
    let handle = service.wasi_http_handler().func_handle();
    let begun = accessor.with(|mut store| -> wasmtime::Result<_> {
        let begun = handle.start_call_concurrent(&mut store, (request,))?;
        if let Some(origin) = origin {
            store.get().http.origins.begin(begun.task(), origin);
        }
        Ok(begun)
    })?;
    let (answered,) = handle.finish_call_concurrent(accessor, begun).await?;
    let answered = match answered {
        Err(code) => Err(GuestError::Refused(format!("{code:?}"))),
        Ok(response) => accessor
            .with(|mut store| {
                let response = http_view(store.get()).table.delete(response)?;
                response.into_http_with_getter(&mut store, sent, http_view)
            })
            .map(|response| response.map(|body| desk.bodies.keep(body)))
            .map_err(GuestError::Trap),
    };
    // The receiver is gone if the client has left.
    answer.send(answered).ok();
    Ok(())
}
