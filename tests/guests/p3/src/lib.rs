//! Shared by the WASI 0.3 guests: a response from text, and numbers from the query.

use wasip3::http::types::{Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

/// A response with `status` and the whole of `text`.
pub fn respond(status: u16, text: impl Into<Vec<u8>>) -> Response {
    let text = text.into();
    let (mut writer, body) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(body), trailers);
    response.set_status_code(status).expect("a valid status");
    // The body is sent after the response was returned, so a spawned task has to write
    // it.
    wit_bindgen::spawn(async move {
        // Data that a departed client did not take is lost.
        drop(writer.write_all(text).await);
    });
    response
}

/// The number `name` in the query of `request`; `default` where it is missing.
pub fn number(request: &Request, name: &str, default: u64) -> u64 {
    let path = request.get_path_with_query().unwrap_or_default();
    guests::query_of(&path, name).map_or(default, |value| value.parse().expect("a number"))
}
