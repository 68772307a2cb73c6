//! WASI 0.3: instances are reused, and serve several requests at once.

mod alarm;
mod instance;
mod kept;
mod waiting;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use http_body::Body;
use skiff_engine::Permits;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use self::instance::{Instance, Job};
use super::body::{GuestBody, Payload, Source};
use super::running::Guests;
use super::{BodyFault, GuestError, Terms};
use crate::Grants;
use crate::interfaces::http::{Hooks, Origin};
use crate::state::State;

pub(crate) use self::kept::Kept;
pub(crate) use self::waiting::Waiting;

/// A component of `wasi:http/service@0.3`.
pub struct P3 {
    shared: Arc<Shared>,
}

/// What all instances of a component share.
struct Shared {
    pre: ServicePre<State>,
    grants: Arc<Grants>,
    terms: Terms,
    permits: Permits,
    guests: Guests,
    /// Live instances; the newest is tried first, so that the others become idle.
    instances: Mutex<Vec<Arc<Instance>>>,
}

impl P3 {
    pub(crate) fn new(
        pre: ServicePre<State>,
        grants: Arc<Grants>,
        terms: Terms,
        permits: Permits,
        guests: Guests,
    ) -> Self {
        P3 {
            shared: Arc::new(Shared {
                pre,
                grants,
                terms,
                permits,
                guests,
                instances: Mutex::default(),
            }),
        }
    }

    pub(crate) async fn handle<B>(
        &self,
        request: http::Request<B>,
    ) -> Result<http::Response<Payload>, GuestError>
    where
        B: Body<Data = Bytes, Error = BodyFault> + Send + 'static,
    {
        let shared = &self.shared;
        let to_head = request.method() == http::Method::HEAD;
        let outbound = shared.grants.outbound.is_granted();
        let origin = outbound.then(|| Origin::of(&request));
        let mut hooks = Hooks::new(&shared.grants);
        let (request, sent) = Request::from_http(&mut hooks, request);
        let (answer, answered) = oneshot::channel();
        let job = Job {
            origin,
            request,
            sent: Box::pin(sent),
            answer,
        };
        let instance = shared.take_on(job).await?;
        let waiting = Waiting::new(&instance);
        let limit = shared.terms.limits.deadline;
        let response = match within(limit, answered).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(error))) => {
                waiting.over();
                return Err(error);
            }
            Ok(Err(oneshot::Canceled)) => {
                waiting.over();
                return Err(GuestError::Trap(wasmtime::Error::msg(instance.failure())));
            }
            Err(limit) => {
                waiting.over();
                instance.is_overdue(limit);
                return Err(GuestError::Deadline(limit));
            }
        };
        let (head, body) = response.into_parts();
        let body = GuestBody::new(&head, to_head, Source::P3(body, waiting));
        let mut body = Some(body);
        let payload = std::future::poll_fn(|cx| match body.take() {
            Some(body) => Poll::Ready(body.settle(None, cx)),
            None => Poll::Pending,
        })
        .await;
        Ok(http::Response::from_parts(head, payload))
    }
}

/// Waits at most `limit`; the error is `limit` itself.
async fn within<F: Future>(limit: Option<Duration>, future: F) -> Result<F::Output, Duration> {
    match limit {
        None => Ok(future.await),
        Some(limit) => tokio::time::timeout(limit, future).await.map_err(|_| limit),
    }
}

impl Shared {
    /// Passes a request to an instance that takes it at once, or to a new one.
    async fn take_on(self: &Arc<Self>, mut job: Job) -> Result<Arc<Instance>, GuestError> {
        loop {
            let instance = match self.willing() {
                Some(instance) => instance,
                None => self.instantiate().await?,
            };
            match instance.offer(job) {
                None => return Ok(instance),
                Some(refused) => job = refused,
            }
        }
    }

    fn willing(&self) -> Option<Arc<Instance>> {
        let instances = self.lock();
        let willing = instances
            .iter()
            .rev()
            .find(|instance| instance.is_willing());
        willing.cloned()
    }

    /// A new instance, or one that has become free meanwhile.
    async fn instantiate(self: &Arc<Self>) -> Result<Arc<Instance>, GuestError> {
        let permit = match self.permits.try_acquire() {
            Some(permit) => permit,
            None => {
                let _waits = self.guests.waits();
                self.permits.acquire().await?
            }
        };
        within(self.terms.limits.deadline, skiff_engine::turn())
            .await
            .map_err(GuestError::Deadline)?;
        if let Some(instance) = self.willing() {
            return Ok(instance);
        }
        let mut store = State::store(self.pre.engine(), &self.grants, &self.terms.ticks);
        skiff_engine::guest_runs();
        let instantiated = self.pre.instantiate_async(&mut store);
        let service = within(self.terms.limits.deadline, instantiated)
            .await
            .map_err(GuestError::Deadline)?
            .map_err(GuestError::Instantiate)?;
        let instance = Instance::start(self, store, service, permit);
        self.lock().push(Arc::clone(&instance));
        Ok(instance)
    }

    fn forget(&self, instance: &Arc<Instance>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, instance));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Instance>>> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
