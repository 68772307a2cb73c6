//! Shared by the guests: an answer in one call, the query string, stores and databases by HTTP.

pub mod database;
pub mod store;

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// Sets the head of the answer and returns its body with the stream into it.
///
/// The stream has to be dropped before the body is finished.
pub fn begin(out: ResponseOutparam, status: u16, headers: Fields) -> (OutgoingBody, OutputStream) {
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a valid status");
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    (body, stream)
}

/// Answers with `status` and the whole of `text`.
pub fn answer(out: ResponseOutparam, status: u16, text: impl AsRef<[u8]>) {
    let (body, stream) = begin(out, status, Fields::new());
    write(&stream, text.as_ref());
    finish(body, stream);
}

/// Finishes a complete body.
pub fn finish(body: OutgoingBody, stream: OutputStream) {
    drop(stream);
    OutgoingBody::finish(body, None).expect("no length was promised");
}

/// Writes all of `bytes`, as much at a time as the host accepts, and waits until they are
/// sent.
///
/// A client that left ends the guest with a trap, as it would end any program.
pub fn write(stream: &OutputStream, mut bytes: &[u8]) {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        ready.block();
        let room = stream.check_write().expect("the client reads") as usize;
        let (now, later) = bytes.split_at(bytes.len().min(room));
        stream.write(now).expect("the client reads");
        bytes = later;
    }
    stream.blocking_flush().expect("the client reads");
}

/// The request's body and the stream out of it; the stream has to be dropped first.
pub fn body(request: &IncomingRequest) -> (IncomingBody, InputStream) {
    let body = request.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    (body, stream)
}

/// The next piece of a body, `None` at its end; a body that broke ends the guest with a trap.
pub fn read(stream: &InputStream) -> Option<Vec<u8>> {
    match stream.blocking_read(64 * 1024) {
        Ok(piece) => Some(piece),
        Err(StreamError::Closed) => None,
        Err(failed) => panic!("the request body broke: {failed}"),
    }
}

/// The value of `name` in the query of `request`, as sent.
pub fn query(request: &IncomingRequest, name: &str) -> Option<String> {
    query_of(&request.path_with_query()?, name)
}

/// The value of `name` in the query of `path`, as sent.
pub fn query_of(path: &str, name: &str) -> Option<String> {
    let (_, query) = path.split_once('?')?;
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// The same, read as a number; `default` where it is missing.
pub fn number(request: &IncomingRequest, name: &str, default: u64) -> u64 {
    query(request, name).map_or(default, |value| value.parse().expect("a number"))
}
