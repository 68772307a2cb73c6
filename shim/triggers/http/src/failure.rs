//! How a handler can fail, and what its client gets.

use std::error::Error;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::{BodyError, BoxError, Counters, ResponseBody};

/// Why a handler returned no response. The client gets the status code and an empty body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The guest trapped. 500.
    #[error("the guest trapped")]
    Trap(#[source] BoxError),
    /// The guest ended without a response. 500.
    #[error("the guest ended without a response")]
    NoResponse,
    /// The request took longer than allowed. 504.
    #[error("the request was not answered within {0:?}")]
    Deadline(Duration),
    /// No instance became free in time. 503 with `Retry-After`.
    #[error("no instance came free")]
    Busy {
        /// When to retry; sent as whole seconds, at least one.
        retry_after: Duration,
    },
    /// The headers of the guest's response are larger than allowed. 500.
    #[error("the headers of the response are larger than allowed")]
    HeadersTooLarge,
    /// The guest answered with an informational status, which is not a final response. 500.
    #[error("the response has the status {0}, which does not end a request")]
    Status(StatusCode),
    /// The guest answered with an invalid `content-length`. 500.
    #[error("the response has a wrong content-length")]
    ContentLength,
    /// The handler failed to read the request's body. 400, 408 or 413.
    #[error("the body of the request cannot be read")]
    Body(#[from] BodyError),
    /// Anything else. 500.
    #[error("the request could not be handled")]
    Other(#[source] BoxError),
}

impl Failure {
    /// The status code that a client gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Failure::Deadline(_) => StatusCode::GATEWAY_TIMEOUT,
            Failure::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Body(BodyError::TimedOut) => StatusCode::REQUEST_TIMEOUT,
            Failure::Body(BodyError::Cut(_)) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn counter<'a>(&self, counters: &'a Counters) -> &'a AtomicU64 {
        match self {
            Failure::Trap(_) => &counters.traps,
            Failure::Deadline(_) => &counters.deadlines,
            Failure::Busy { .. } => &counters.busy,
            _ => &counters.failures,
        }
    }

    /// Counts and logs the failure, and creates its response.
    pub(crate) fn answer(&self, component: &str, counters: &Counters) -> Response<ResponseBody> {
        Counters::add(self.counter(counters));
        tracing::error!(
            component_id = component,
            error = chain(self),
            "request failed"
        );
        let mut response = Response::new(ResponseBody::Empty);
        *response.status_mut() = self.status();
        if let Failure::Busy { retry_after } = self {
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_tells_whole_seconds_and_at_least_one() {
        let retry_after = |millis| {
            let failure = Failure::Busy {
                retry_after: Duration::from_millis(millis),
            };
            let response = failure.answer("a", &Counters::default());
            assert_eq!(response.status(), 503);
            response.headers()[RETRY_AFTER].to_str().unwrap().to_owned()
        };
        assert_eq!(
            [retry_after(0), retry_after(1000), retry_after(1001)],
            ["1", "1", "2"]
        );
    }

    #[test]
    fn every_failure_has_its_status_and_counter() {
        let counters = Counters::default();
        let failures = [
            (Failure::Trap("unreachable".into()), 500),
            (Failure::NoResponse, 500),
            (Failure::Deadline(Duration::from_secs(1)), 504),
            (Failure::HeadersTooLarge, 500),
            (Failure::Body(BodyError::TimedOut), 408),
            (Failure::Body(BodyError::TooLarge { limit: 1 }), 413),
        ];
        for (failure, status) in failures {
            assert_eq!(failure.answer("a", &counters).status(), status, "{failure}");
        }
        let counted: Vec<_> = counters
            .snapshot()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(counted, [("traps", 1), ("deadlines", 1), ("failures", 4)]);
    }

    #[test]
    fn a_chain_is_one_line() {
        let failure = Failure::Trap("wasm trap:\nunreachable".into());
        assert_eq!(chain(&failure), "the guest trapped: wasm trap: unreachable");
    }
}
