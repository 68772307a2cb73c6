//! Converts the trigger's requests for a guest, and the guest's answers to responses.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use skiff_engine::Runner;
use skiff_host::{BodyFault, Guest, GuestError, HttpGuest, Payload};
use skiff_manifest::HttpRoute;
use skiff_trigger_http::{
    BodyError, BoxError, Failure, Handler, RequestBody, ResponseBody, RoutePath,
};

use super::arriving::Arriving;
use super::network::Inside;

/// When a rejected client should retry: instances become free within a request's time,
/// which is far below a second.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A component behind a route.
pub(super) struct GuestHandler {
    guest: HttpGuest,
    guests: Guest,
    inside: Arc<Inside>,
    /// Kept so that other applications find the engine.
    _runner: Arc<Runner>,
}

impl GuestHandler {
    /// `guests` are all guests of the application: a slow body gives way if a request
    /// waits for one of them. `inside` knows its own requests, `runner` runs the guest.
    pub(super) fn new(
        guest: HttpGuest,
        guests: Guest,
        inside: Arc<Inside>,
        runner: Arc<Runner>,
    ) -> Self {
        GuestHandler {
            guest,
            guests,
            inside,
            _runner: runner,
        }
    }
}

impl Handler for GuestHandler {
    async fn handle(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Failure> {
        self.inside.receives(&mut request);
        let (head, body) = request.into_parts();
        let body = Arriving::new(body, &head.headers, &self.guests).await?;
        let fault = body.fault();
        match self.guest.handle(Request::from_parts(head, body)).await {
            Ok(response) => Ok(response.map(response_body)),
            // The guest is not to blame if it fails because of what its client sent.
            Err(error) => Err(match fault.and_then(|fault| fault.take()) {
                Some(fault) if is_of_the_guest(&error) => Failure::Body(fault),
                _ => failure(error),
            }),
        }
    }
}

/// The route under which the manifest makes a handler reachable.
pub(super) fn route(route: &HttpRoute) -> RoutePath {
    match route {
        HttpRoute::Path(path) => RoutePath::Public(path.clone()),
        HttpRoute::Private => RoutePath::Private,
    }
}

fn response_body(payload: Payload) -> ResponseBody {
    match payload {
        Payload::Full(bytes) => ResponseBody::from(bytes),
        Payload::Stream(body) => ResponseBody::new((*body).map_err(BoxError::from)),
    }
}

/// Whether the guest ended its request without an answer of its own.
fn is_of_the_guest(error: &GuestError) -> bool {
    match error {
        GuestError::Trap(_)
        | GuestError::NoResponse
        | GuestError::Refused(_)
        | GuestError::Body(_)
        | GuestError::Answer(_) => true,
        GuestError::Deadline(_)
        | GuestError::Busy(_)
        | GuestError::Instantiate(_)
        | GuestError::Request(_) => false,
    }
}

fn failure(error: GuestError) -> Failure {
    match error {
        GuestError::NoResponse => Failure::NoResponse,
        GuestError::Deadline(limit) => Failure::Deadline(limit),
        GuestError::Busy(_) => Failure::Busy {
            retry_after: RETRY_AFTER,
        },
        error @ GuestError::Trap(_) => Failure::Trap(error.to_string().into()),
        GuestError::Body(BodyFault::TooLarge(limit)) => {
            Failure::Body(BodyError::TooLarge { limit })
        }
        error @ (GuestError::Refused(_)
        | GuestError::Answer(_)
        | GuestError::Body(_)
        | GuestError::Instantiate(_)
        | GuestError::Request(_)) => Failure::Other(error.to_string().into()),
    }
}
