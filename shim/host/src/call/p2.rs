//! WASI 0.2: one instance per request, driven by the connection that waits for it. A task
//! is spawned only if the guest outlives its response. If instances can be rewound, one
//! that has answered is restored to its initial state and serves again.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant as Time};

use bytes::Bytes;
use http_body::Body;
use skiff_engine::{Beginning, Permit, Permits, Rewinds};
use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyIndices};
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _};

use super::body::{GuestBody, Payload, Source};
use super::running::Guests;
use super::{BodyFault, GuestError, Terms};
use crate::Grants;
use crate::interfaces::http::Origin;
use crate::state::State;

/// A component of `wasi:http/proxy@0.2`.
pub struct P2 {
    pre: InstancePre<State>,
    grants: Arc<Grants>,
    terms: Terms,
    permits: Permits,
    guests: Guests,
    indices: ProxyIndices,
    /// How instances are rewound, if possible.
    rewinds: Option<Rewinds>,
    /// Instances that wait for their next request: in their initial state, or, if reuse was
    /// configured, as the last request left them.
    idle: Mutex<Vec<Idle>>,
    /// Whether a task removes those that wait too long.
    tidies: AtomicBool,
}

struct Idle {
    made: Made,
    served: usize,
    since: Time,
    permit: Permit,
}

/// An instance.
struct Made {
    /// Its initial state. It is dropped before the store.
    beginning: Option<Beginning>,
    store: Store<State>,
    proxy: Proxy,
}

/// The handles a request passes to its guest: the request itself, and the response's
/// outparam.
const HANDLES: usize = 2;

/// How many requests an instance serves if it is rewound for each.
const MOST_REWOUND: usize = 1000;

/// The deadline passed while the guest ran.
#[derive(Debug, thiserror::Error)]
#[error("the request took longer than {0:?}")]
struct Overdue(Duration);

/// The guest could not be instantiated.
#[derive(Debug, thiserror::Error)]
#[error("{}", super::one_line(.0))]
struct NoInstance(wasmtime::Error);

type Answer = Result<http::Response<WasiBody>, ErrorCode>;

impl P2 {
    pub(crate) fn new(
        pre: InstancePre<State>,
        grants: Arc<Grants>,
        terms: Terms,
        permits: Permits,
        guests: Guests,
    ) -> wasmtime::Result<Self> {
        Ok(P2 {
            indices: ProxyIndices::new(&pre)?,
            // If instances are reused, their initial state is not needed.
            rewinds: Rewinds::of(pre.component()).filter(|_| !terms.reuse.wasi_0_2),
            pre,
            grants,
            terms,
            permits,
            guests,
            idle: Mutex::default(),
            tidies: AtomicBool::new(false),
        })
    }

    /// An idle instance; drops those that waited too long.
    fn reusable(&self) -> Option<Idle> {
        if !self.terms.reuse.wasi_0_2 && self.rewinds.is_none() {
            return None;
        }
        self.fresh().pop()
    }

    /// Makes an instance.
    async fn make(&self, mut store: Store<State>) -> wasmtime::Result<Made> {
        skiff_engine::turn().await;
        let no_instance = |error| wasmtime::Error::new(NoInstance(error));
        let instance = self.pre.instantiate_async(&mut store).await;
        let instance = instance.map_err(no_instance)?;
        let proxy = self.indices.load(&mut store, &instance)?;
        // Once a guest has read random numbers, time or the like, rewinding would repeat
        // their values for each request.
        let beginning = match &self.rewinds {
            Some(rewinds)
                if rewinds.are_worth_it()
                    && !store.data().has_looked_around()
                    && store.data_mut().handles() == HANDLES =>
            {
                rewinds.begin(&mut store, &instance).await?
            }
            _ => None,
        };
        Ok(Made {
            beginning,
            store,
            proxy,
        })
    }

    /// Instances that have not waited too long.
    fn fresh(&self) -> MutexGuard<'_, Vec<Idle>> {
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        let limit = self.terms.reuse.idle;
        idle.retain(|instance| instance.since.elapsed() < limit);
        idle
    }

    /// Keeps an instance for its next request. If none comes, it is dropped, and its permit
    /// goes to other components.
    fn keep(self: &Arc<Self>, instance: Idle) {
        self.idle
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(instance);
        if self.tidies.swap(true, Relaxed) {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(this.terms.reuse.idle).await;
                if this.fresh().is_empty() {
                    this.tidies.store(false, Relaxed);
                    return;
                }
            }
        });
    }

    pub(crate) async fn handle<B>(
        self: &Arc<Self>,
        request: http::Request<B>,
    ) -> Result<http::Response<Payload>, GuestError>
    where
        B: Body<Data = Bytes, Error = BodyFault> + Send + 'static,
    {
        let to_head = request.method() == http::Method::HEAD;
        let (mut have, served, permit) = match self.reusable() {
            Some(idle) => (Have::Instance(idle.made), idle.served, idle.permit),
            None => {
                let permit = match self.permits.try_acquire() {
                    Some(permit) => permit,
                    None => {
                        let _waits = self.guests.waits();
                        self.permits.acquire().await?
                    }
                };
                let store = State::store(self.pre.engine(), &self.grants, &self.terms.ticks);
                (Have::Store(store), 0, permit)
            }
        };
        let store = have.store();
        if self.grants.outbound.is_granted() {
            let origin = Origin::of(&request);
            store.data_mut().http.answers(Some(origin));
        }
        let answer: Arc<Mutex<Option<Answer>>> = Arc::default();
        let request = store
            .data_mut()
            .http()
            .new_incoming_request(Scheme::Http, request)
            .map_err(GuestError::Request)?;
        let out = {
            let answer = Arc::clone(&answer);
            store
                .data_mut()
                .http()
                .new_response_outparam_from_callback(move |value| {
                    *answer.lock().unwrap_or_else(|e| e.into_inner()) = Some(value);
                })
                .map_err(GuestError::Request)?
        };
        let this = Arc::clone(self);
        let call = async move {
            let mut made = match have {
                Have::Instance(made) => made,
                Have::Store(store) => this.make(store).await?,
            };
            let Made {
                beginning,
                store,
                proxy,
            } = &mut made;
            let handler = proxy.wasi_http_incoming_handler();
            let guest = handler.call_handle(&mut *store, request, out);
            match beginning {
                Some(beginning) => beginning.run(guest).await?,
                None => guest.await?,
            }
            Ok(Returned {
                again: this.terms.reuse.wasi_0_2,
                guest: this,
                made,
                served: served + 1,
                permit,
            })
        };
        let limit = self.terms.limits.deadline;
        let future: Running = Box::pin(async move {
            let returned: wasmtime::Result<Returned> = match limit {
                None => call.await,
                Some(limit) => match tokio::time::timeout(limit, call).await {
                    Ok(returned) => returned,
                    Err(_) => Err(wasmtime::Error::new(Overdue(limit))),
                },
            };
            // Its request is answered, whatever happens to the guest.
            Ok(returned?.rewound().await)
        });
        let mut instance = Instance {
            future: Some(future),
            component: Arc::clone(&self.grants.component),
            guests: self.guests.clone(),
            heard: false,
        };
        std::future::poll_fn(|cx| {
            let done = instance.poll(cx);
            let answered = answer.lock().unwrap_or_else(|e| e.into_inner()).take();
            match (answered, done) {
                (None, Poll::Pending) => Poll::Pending,
                (None, Poll::Ready(Ok(_))) => Poll::Ready(Err(GuestError::NoResponse)),
                (None, Poll::Ready(Err(error))) => Poll::Ready(Err(failure(error))),
                (Some(Err(code)), _) => {
                    // Also an answer: the guest may continue to work.
                    instance.heard = true;
                    Poll::Ready(Err(GuestError::Refused(format!("{code:?}"))))
                }
                (Some(Ok(response)), done) => {
                    let (guest, returned) = match done {
                        Poll::Pending => (instance.take(), None),
                        Poll::Ready(Ok(returned)) => (None, Some(returned)),
                        Poll::Ready(Err(error)) => {
                            // The head was set and the guest failed before anything was
                            // sent: the client can still get an error.
                            return Poll::Ready(Err(failure(error)));
                        }
                    };
                    let (head, body) = response.into_parts();
                    let body = GuestBody::new(&head, to_head, Source::P2(body, guest));
                    let payload = body.settle(returned, cx);
                    Poll::Ready(Ok(http::Response::from_parts(head, payload)))
                }
            }
        })
        .await
    }
}

fn failure(error: wasmtime::Error) -> GuestError {
    match error.downcast::<Overdue>() {
        Ok(Overdue(limit)) => GuestError::Deadline(limit),
        Err(error) => match error.downcast::<NoInstance>() {
            Ok(NoInstance(error)) => GuestError::Instantiate(error),
            Err(error) => GuestError::Trap(error),
        },
    }
}

type Running = Pin<Box<dyn Future<Output = wasmtime::Result<Returned>> + Send>>;

/// An instance whose guest has returned. It keeps the guest's resources until it is
/// dropped, so that an unfinished body can be distinguished from a complete one.
pub(crate) struct Returned {
    guest: Arc<P2>,
    made: Made,
    /// Whether it can serve another request.
    again: bool,
    served: usize,
    permit: Permit,
}

impl Returned {
    /// Restores the instance's initial state, if possible.
    async fn rewound(mut self) -> Self {
        if let (Some(beginning), Some(rewinds)) = (&self.made.beginning, &self.guest.rewinds) {
            let rewound = rewinds.rewind(beginning, &mut self.made.store).await;
            self.again = rewound.unwrap_or(false);
        }
        self
    }

    /// Keeps the instance for the next request, if it can serve one.
    pub(crate) fn may_serve_again(self) {
        let Returned {
            guest,
            mut made,
            again,
            served,
            permit,
        } = self;
        let is_rewound = made.beginning.is_some();
        let most = match is_rewound {
            true => MOST_REWOUND,
            false => guest.terms.reuse.requests,
        };
        // Requests that wait for a permit come first and get this one when it is free.
        let mut again = again && served < most && !guest.guests.are_short();
        if again && is_rewound {
            let state = made.store.data_mut();
            state.renew();
            // A shared permit may be wanted by other components.
            again = permit.is_own() && !state.is_littered();
        }
        if !again {
            // The permit is released after the instance.
            drop(made);
            return;
        }
        let idle = Idle {
            made,
            served,
            since: Time::now(),
            permit,
        };
        guest.keep(idle);
    }
}

/// What a request has to start with.
enum Have {
    Instance(Made),
    Store(Store<State>),
}

impl Have {
    fn store(&mut self) -> &mut Store<State> {
        match self {
            Have::Instance(made) => &mut made.store,
            Have::Store(store) => store,
        }
    }
}

/// A running guest. If this is dropped before it has finished, it continues in a task: Spin
/// lets guests work after their response, and a client that leaves must not interrupt a
/// guest. But nobody can see the result of a guest whose client left before its response:
/// that one gets a time limit.
pub(crate) struct Instance {
    future: Option<Running>,
    component: Arc<str>,
    guests: Guests,
    /// The client has its whole response.
    heard: bool,
}

impl Instance {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<wasmtime::Result<Returned>> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        skiff_engine::guest_runs();
        let result = std::task::ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(result)
    }

    fn take(&mut self) -> Option<Instance> {
        Some(Instance {
            future: Some(self.future.take()?),
            component: Arc::clone(&self.component),
            guests: self.guests.clone(),
            heard: self.heard,
        })
    }

    /// Lets it continue, as its client has its response.
    pub(crate) fn heard(mut self) {
        self.heard = true;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else {
            return;
        };
        // Without a runtime the process is shutting down.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let component = Arc::clone(&self.component);
        let entered = self.guests.enter();
        let limit = (!self.heard).then_some(self.guests.abandoned());
        runtime.spawn(async move {
            let ended = match limit {
                None => Ok(future.await),
                Some(limit) => tokio::time::timeout(limit, future).await.map_err(|_| limit),
            };
            match ended {
                Ok(Ok(returned)) => returned.may_serve_again(),
                Ok(Err(error)) => {
                    tracing::error!(component_id = %component, error = %super::one_line(&error), "Guest failed after its response");
                }
                Err(limit) => tell_abandoned(&component, limit),
            }
            drop(entered);
        });
    }
}

/// Logs that a guest was ended because its client had left.
pub(super) fn tell_abandoned(component: &str, limit: Duration) {
    tracing::warn!(
        component_id = component,
        "Guest ended: its client left {limit:?} ago and has no answer"
    );
}
