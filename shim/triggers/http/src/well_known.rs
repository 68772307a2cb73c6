//! Requests the server answers itself: the application's health, and information about it.
//! Guests cannot take over these paths.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use skiff_trigger::State;

use crate::ResponseBody;

/// Paths under this prefix belong to the server.
pub(crate) const WELL_KNOWN: &str = "/.well-known/spin/";

/// The application's health.
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

/// Information about the application, as JSON.
pub(crate) fn info(info: &Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from(info.clone()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
