//! What the server answers itself: health, which is the application's, and what its
//! routes say of the application. Nothing of a guest takes these paths away.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use skiff_trigger::State;

use crate::ResponseBody;

/// Paths under this prefix are the server's own.
pub(crate) const WELL_KNOWN: &str = "/.well-known/spin/";

/// How the application is.
pub(crate) fn health(state: State) -> Response<ResponseBody> {
    let (status, text) = match state {
        State::Ready => (StatusCode::OK, "OK"),
        State::Starting => (StatusCode::SERVICE_UNAVAILABLE, "Starting"),
        State::Going => (StatusCode::SERVICE_UNAVAILABLE, "Stopping"),
        State::Failed => (StatusCode::SERVICE_UNAVAILABLE, "Failed"),
    };
    let mut response = Response::new(ResponseBody::from(text));
    *response.status_mut() = status;
    response
}

/// What the application is, as JSON.
pub(crate) fn info(info: &Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from(info.clone()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
