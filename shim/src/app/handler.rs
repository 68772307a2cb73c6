//! Where the trigger's requests become a guest's, and its answers responses.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use skiff_host::{BodyFault, GuestError, HttpGuest, Payload};
use skiff_trigger::{BodyError, BoxError, Failure, Handler, RequestBody, ResponseBody};

/// When a client that was turned away should come back: instances come free
/// within a request's time, which is far below a second.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A component behind a route.
pub(super) struct GuestHandler(pub(super) HttpGuest);

impl Handler for GuestHandler {
    async fn handle(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let request = request.map(|body| body.map_err(body_fault));
        match self.0.handle(request).await {
            Ok(response) => Ok(response.map(response_body)),
            Err(error) => Err(failure(error)),
        }
    }
}

fn body_fault(error: BodyError) -> BodyFault {
    match error {
        BodyError::TooLarge { limit } => BodyFault::TooLarge(limit),
        BodyError::TimedOut => BodyFault::TimedOut,
        BodyError::Cut(_) => BodyFault::Cut,
    }
}

fn response_body(payload: Payload) -> ResponseBody {
    match payload {
        Payload::Full(bytes) => ResponseBody::from(bytes),
        Payload::Stream(body) => {
            let body = (*body).map_err(|error| BoxError::from(error.to_string()));
            ResponseBody::new(body)
        }
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
        error @ (GuestError::Refused(_) | GuestError::Instantiate(_) | GuestError::Request(_)) => {
            Failure::Other(error.to_string().into())
        }
    }
}
