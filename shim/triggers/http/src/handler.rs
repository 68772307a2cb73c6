//! What the trigger calls.

use std::future::Future;

use http::{Request, Response};

use crate::{Failure, RequestBody, ResponseBody};

/// Answers requests: a component, behind whatever runs it.
pub trait Handler: Send + Sync + 'static {
    /// Whether the handler adds the `spin-*` headers itself, by
    /// [`RequestBody::add_spin_headers`]. They are a good part of what a request costs
    /// before it reaches the handler, and many guests never look at a header.
    const ADDS_SPIN_HEADERS: bool = false;

    /// Answers one request.
    ///
    /// The request's URI is absolute (scheme and authority are the ones the client
    /// used), its headers are UTF-8 and include the `spin-*` ones, `Connection` is
    /// gone, and [`RequestBody::peer`] tells who sent it.
    ///
    /// The future is dropped when the client leaves or the drain limit passes. So is
    /// the body of the response, before or after its end; until then it is polled
    /// only as fast as the client reads. The body of the request may be kept longer
    /// than the response, and is read from the socket only as it is polled.
    ///
    /// # Errors
    /// A [`Failure`] becomes a status code, a log line with the component's id and a
    /// count.
    fn handle(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Failure>> + Send;
}
