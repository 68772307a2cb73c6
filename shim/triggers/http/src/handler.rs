//! The interface that the trigger calls.

use std::future::Future;

use http::{Request, Response};

use crate::{Failure, RequestBody, ResponseBody};

/// Answers requests: a component, with whatever runs it.
pub trait Handler: Send + Sync + 'static {
    /// Whether the handler adds the `spin-*` headers itself, with
    /// [`RequestBody::add_spin_headers`]. They are a large part of a request's cost before
    /// the handler, and many guests never read a header.
    const ADDS_SPIN_HEADERS: bool = false;

    /// Answers one request.
    ///
    /// The request's URI is absolute (scheme and authority are the ones the client used),
    /// its headers are UTF-8 and include the `spin-*` ones, `Connection` is removed, and
    /// [`RequestBody::peer`] is the client's address.
    ///
    /// The future is dropped when the client leaves or the drain limit is reached. So is
    /// the response's body, before or after its end; until then it is polled only as fast
    /// as the client reads. The request's body may be kept longer than the response, and is
    /// read from the socket only when polled.
    ///
    /// # Errors
    /// A [`Failure`] becomes a status code, a log line with the component's id, and a
    /// count.
    fn handle(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Failure>> + Send;
}
