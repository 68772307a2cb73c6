//! WASI 0.3: instances are reused, and take several requests at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use skiff_engine::{Busy, Permit, Permits};
use tokio::time::Sleep;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::{
    ExpirationError, HandlerState, Instance as HandlerInstance, InstantiationError, ProxyHandler,
    ProxyPre, ShouldAccept, TrapOrPanicError, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;

use super::body::{GuestBody, Payload};
use super::running::{Entered, Guests};
use super::{GuestError, Terms, one_line};
use crate::Grants;
use crate::state::{State, http_view};

/// A component of `wasi:http/service@0.3`.
pub struct P3 {
    handler: ProxyHandler<Factory>,
}

struct Factory {
    pre: ProxyPre<State>,
    grants: Arc<Grants>,
    terms: Terms,
    permits: Permits,
    guests: Guests,
}

impl P3 {
    pub(crate) fn new(
        pre: ServicePre<State>,
        grants: Arc<Grants>,
        terms: Terms,
        guests: Guests,
    ) -> Self {
        let permits = Permits::new(&terms.limits);
        P3 {
            handler: ProxyHandler::new(Factory {
                pre: ProxyPre::P3(pre),
                grants,
                terms,
                permits,
                guests,
            }),
        }
    }

    pub(crate) async fn handle(
        &self,
        request: http::Request<WasiBody>,
    ) -> Result<http::Response<Payload>, GuestError> {
        let factory = self.handler.state();
        let deadline = factory
            .terms
            .limits
            .deadline
            .map(|limit| (Instant::now(), limit));
        match self.handler.handle((), request).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let component = Arc::clone(&factory.grants.component);
                let mut body = Some(GuestBody::new(component, body, None));
                let payload = std::future::poll_fn(|cx| match body.take() {
                    Some(body) => Poll::Ready(body.settle(cx)),
                    None => Poll::Pending,
                })
                .await;
                Ok(http::Response::from_parts(head, payload))
            }
            Err(error) => Err(failure(error, deadline)),
        }
    }
}

/// `deadline` is since when the request runs, and how long it may.
fn failure(error: wasmtime::Error, deadline: Option<(Instant, Duration)>) -> GuestError {
    if let Some(instantiation) = error.downcast_ref::<InstantiationError<()>>() {
        if let Some(busy) = instantiation.error.downcast_ref::<Busy>() {
            return GuestError::Busy(*busy);
        }
        let text = one_line(&instantiation.error);
        return GuestError::Instantiate(wasmtime::Error::msg(text));
    }
    let over = deadline.filter(|(since, limit)| since.elapsed() >= *limit);
    match over {
        // A guest that computes is ended with its whole instance, which looks
        // like a trap from here.
        Some((_, limit)) if error.is::<ExpirationError>() || error.is::<TrapOrPanicError>() => {
            return GuestError::Deadline(limit);
        }
        _ => {}
    }
    match error.downcast_ref::<ErrorCode>() {
        Some(code) => GuestError::Refused(format!("{code:?}")),
        None => GuestError::Trap(error),
    }
}

impl HandlerState for Factory {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Life;

    async fn instantiate(&self) -> wasmtime::Result<HandlerInstance<State, Expiration, Life>> {
        let permit = match self.permits.try_acquire() {
            Some(permit) => permit,
            None => self.permits.acquire().await.map_err(wasmtime::Error::new)?,
        };
        let mut store = Store::new(self.pre_engine(), State::new(&self.grants));
        store.limiter(|state| &mut state.memory);
        self.terms.ticks.interrupt(&mut store);
        let proxy = self.pre.instantiate_async(&mut store).await?;
        Ok(HandlerInstance {
            store,
            proxy,
            view: http_view,
            expiration: Expiration {
                idle: self.terms.reuse.idle,
                deadline: self.terms.limits.deadline,
                sleep: None,
                guests: self.guests.clone(),
                working: None,
            },
            state: Life {
                requests: self.terms.reuse.requests,
                concurrent: self.terms.reuse.concurrent,
                deadline: self.terms.limits.deadline,
                component: Arc::clone(&self.grants.component),
                _permit: permit,
            },
        })
    }
}

impl Factory {
    fn pre_engine(&self) -> &wasmtime::Engine {
        match &self.pre {
            ProxyPre::P2(pre) => pre.engine(),
            ProxyPre::P3(pre) => pre.engine(),
        }
    }
}

/// When an instance is given up: after it was idle long enough, or when a
/// request is over its deadline while the guest computes.
struct Expiration {
    idle: Duration,
    deadline: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    guests: Guests,
    /// Held while the guest does anything that the way down must wait for.
    working: Option<Entered>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        state: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        let this = self.get_mut();
        match state {
            WorkerStatus::Idle => this.working = None,
            WorkerStatus::Requests | WorkerStatus::PostReturn => {
                this.working.get_or_insert_with(|| this.guests.enter());
            }
        }
        let limit = match (state, this.deadline) {
            (WorkerStatus::Idle, _) => this.idle,
            (WorkerStatus::Requests | WorkerStatus::PostReturn, Some(deadline)) => deadline,
            (WorkerStatus::Requests | WorkerStatus::PostReturn, None) => return Poll::Pending,
        };
        // The timer is left as it is while it would fire too early, which costs
        // one look when it does and nothing for each request.
        loop {
            let elapsed = start.elapsed();
            if elapsed >= limit {
                return Poll::Ready(());
            }
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit - elapsed)));
            std::task::ready!(sleep.as_mut().poll(cx));
            this.sleep = None;
        }
    }
}

/// How much one instance takes on.
struct Life {
    requests: usize,
    concurrent: usize,
    deadline: Option<Duration>,
    component: Arc<str>,
    _permit: Permit,
}

impl WorkerState for Life {
    type StoreData = State;
    type RequestData = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.requests {
            ShouldAccept::Never
        } else if concurrent >= self.concurrent {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, State>,
        (): (),
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        match self.deadline {
            None => Box::pin(std::future::pending()),
            Some(deadline) => Box::pin(tokio::time::sleep(deadline)),
        }
    }

    fn drop(&self, store: Store<State>, result: Result<(), wasmtime::Error>) {
        if let Err(error) = result {
            tracing::error!(component_id = %self.component, error = %one_line(&error), "Guest instance failed");
        }
        std::mem::drop(store);
    }
}
