//! WASI 0.2: an instance for each request, driven by the connection that waits
//! for it. No task is spawned unless the guest outlives its response. Where instances can
//! be rewound, one that has answered is made what it was, and serves again.

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
use crate::state::State;

/// A component of `wasi:http/proxy@0.2`.
pub struct P2 {
    pre: InstancePre<State>,
    grants: Arc<Grants>,
    terms: Terms,
    permits: Permits,
    guests: Guests,
    indices: ProxyIndices,
    /// How instances are rewound, if they can be.
    rewinds: Option<Rewinds>,
    /// Instances that wait for their next request: as they were made, or as the last one
    /// left them where reuse was asked for.
    idle: Mutex<Vec<Idle>>,
    /// Whether a task ends those that wait too long.
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
    /// What it was when it was made. It ends before the store does.
    beginning: Option<Beginning>,
    store: Store<State>,
    proxy: Proxy,
}

/// What a request gives its guest: itself, and what takes the answer.
const HANDLES: usize = 2;

/// Requests that an instance serves that is rewound for each.
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
            // Where instances are reused, what they were is of no use.
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

    /// An instance that is idle, dropping those that waited too long.
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
        // One that has looked around would be the same for each request, and is not to be.
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

    /// Keeps an instance for its next request, which may not come: what it has is then
    /// for other components.
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
            // Its request is answered, whatever becomes of it.
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
                    // An answer as well: it may work on.
                    instance.heard = true;
                    Poll::Ready(Err(GuestError::Refused(format!("{code:?}"))))
                }
                (Some(Ok(response)), done) => {
                    let (guest, returned) = match done {
                        Poll::Pending => (instance.take(), None),
                        Poll::Ready(Ok(returned)) => (None, Some(returned)),
                        Poll::Ready(Err(error)) => {
                            // The head was set and the guest has failed before
                            // anything was sent: the client can still be told.
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

/// An instance whose guest has returned. Its resources are there until this is dropped,
/// so that an unfinished body can be told from one that has ended.
pub(crate) struct Returned {
    guest: Arc<P2>,
    made: Made,
    /// Whether it can serve another request.
    again: bool,
    served: usize,
    permit: Permit,
}

impl Returned {
    /// Makes the instance what it was, if it can be.
    async fn rewound(mut self) -> Self {
        if let (Some(beginning), Some(rewinds)) = (&self.made.beginning, &self.guest.rewinds) {
            let rewound = rewinds.rewind(beginning, &mut self.made.store).await;
            self.again = rewound.unwrap_or(false);
        }
        self
    }

    /// Keeps the instance for the next request, where it can serve one.
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
        // Whoever waits for an instance is first, and gets the right to one when it is free.
        let mut again = again && served < most && !guest.guests.are_short();
        if again && is_rewound {
            let state = made.store.data_mut();
            state.renew();
            // What is not the component's own may be wanted by others.
            again = permit.is_own() && !state.is_littered();
        }
        if !again {
            // The right to an instance is given back after it.
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

/// What there is for a request.
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

/// A guest at work. Dropped before it has finished, it goes on by itself: the
/// contract lets guests work after their answer, and a client that leaves must
/// not tear a guest out of what it does. But nobody will ever hear a guest whose
/// client has left before it had its answer: that one has an end.
pub(crate) struct Instance {
    future: Option<Running>,
    component: Arc<str>,
    guests: Guests,
    /// The client has its whole answer.
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

    /// Lets it work on, as its client has its answer.
    pub(crate) fn heard(mut self) {
        self.heard = true;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else {
            return;
        };
        // Outside a runtime the process is on its way out.
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

/// A guest was ended that nobody would have heard.
pub(super) fn tell_abandoned(component: &str, limit: Duration) {
    tracing::warn!(
        component_id = component,
        "Guest ended: its client left {limit:?} ago and has no answer"
    );
}
