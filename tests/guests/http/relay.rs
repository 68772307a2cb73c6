//! Sends its request on to `?url=…`, or to its variable `URL`, and streams the answer back, or answers 502 and the error
//! code. `connect`, `first` and `between` are timeouts in milliseconds; with `whole=1` it reads
//! the whole answer before it answers.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, IncomingResponse, OutgoingBody, OutgoingRequest,
    RequestOptions, ResponseOutparam, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

struct Relay;
wasip2::http::proxy::export!(Relay with_types_in wasip2);

impl Guest for Relay {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let response = match send(&request) {
            Ok(response) => response,
            Err(error) => return guests::answer(out, 502, format!("{error:?}\n")),
        };
        let (status, headers) = (response.status(), response.headers().entries());
        let body = response.consume().expect("the body is taken once");
        let stream = body.stream().expect("the stream is taken once");
        let read = || match stream.blocking_read(64 * 1024) {
            Ok(piece) => Ok(Some(piece)),
            Err(StreamError::Closed) => Ok(None),
            Err(StreamError::LastOperationFailed(error)) => {
                Err(http_error_code(&error).expect("an error of HTTP"))
            }
        };
        if guests::number(&request, "whole", 0) == 1 {
            let mut all = Vec::new();
            loop {
                match read() {
                    Ok(Some(piece)) => all.extend(piece),
                    Ok(None) => return guests::answer(out, status, all),
                    Err(error) => {
                        let length = all.len();
                        return guests::answer(out, 502, format!("{error:?} after {length}\n"));
                    }
                }
            }
        }
        let fields = Fields::new();
        for (name, value) in headers {
            // Those of the connection cannot be set.
            let _ = fields.append(&name, &value);
        }
        let (answer, output) = guests::begin(out, status, fields);
        while let Ok(Some(piece)) = read() {
            guests::write(&output, &piece);
        }
        guests::finish(answer, output);
    }
}

fn send(request: &IncomingRequest) -> Result<IncomingResponse, ErrorCode> {
    let url = guests::query(request, "url").or_else(|| std::env::var("URL").ok());
    let url = url.expect("a url");
    let asked = OutgoingRequest::new(Fields::new());
    asked.set_method(&request.method()).expect("a method");
    let path = match url.split_once("://") {
        None => url.as_str(),
        Some((scheme, rest)) => {
            let scheme = match scheme {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                other => Scheme::Other(other.to_owned()),
            };
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            asked.set_scheme(Some(&scheme)).expect("a scheme");
            asked.set_authority(Some(authority)).expect("an authority");
            path
        }
    };
    let path = if path.is_empty() { "/" } else { path };
    asked.set_path_with_query(Some(path)).expect("a path");
    let options = RequestOptions::new();
    let time = |name| {
        let millis = guests::query(request, name)?;
        Some(millis.parse::<u64>().expect("a number") * 1_000_000)
    };
    options.set_connect_timeout(time("connect")).expect("a timeout");
    options.set_first_byte_timeout(time("first")).expect("a timeout");
    options.set_between_bytes_timeout(time("between")).expect("a timeout");
    let body = asked.body().expect("the body is taken once");
    let output = body.write().expect("the stream is taken once");
    let future = handle(asked, Some(options))?;
    let (_incoming, input) = guests::body(request);
    while let Some(piece) = guests::read(&input) {
        guests::write(&output, &piece);
    }
    drop(output);
    OutgoingBody::finish(body, None)?;
    future.subscribe().block();
    future.get().expect("it is ready").expect("it is asked once")
}
