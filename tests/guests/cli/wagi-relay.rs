//! A command that WAGI runs: it sends a request to its variable `URL`, and answers with the
//! answer's status and body, or with 502 and the error code.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{ErrorCode, Fields, OutgoingBody, OutgoingRequest, Scheme};

fn main() {
    match send(&std::env::var("URL").expect("a URL")) {
        Ok((status, body)) => print!("status: {status}\n\n{body}"),
        Err(error) => println!("status: 502\n\n{error:?}"),
    }
}

fn send(url: &str) -> Result<(u16, String), ErrorCode> {
    let (authority, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .expect("a URL");
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request
        .set_authority(Some(authority))
        .expect("an authority");
    request
        .set_path_with_query(Some(&format!("/{path}")))
        .expect("a path");
    let body = request.body().expect("the body is taken once");
    let future = handle(request, None)?;
    OutgoingBody::finish(body, None)?;
    future.subscribe().block();
    let response = future
        .get()
        .expect("it is ready")
        .expect("it is asked once")?;
    let body = response.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    let mut all = Vec::new();
    while let Some(piece) = guests::read(&stream) {
        all.extend(piece);
    }
    Ok((
        response.status(),
        String::from_utf8_lossy(&all).into_owned(),
    ))
}
