//! Does what the query's `op` says, through WASI 0.2.0-rc-2023-11-10. The standard library
//! uses the release beside it.

wit_bindgen::generate!({
    path: "../fixtures/wit/wasi-2023-11-10.wit",
    world: "everything",
    generate_all,
});

use exports::wasi::http::incoming_handler::Guest;
use wasi::http::outgoing_handler::handle;
use wasi::http::types::{
    ErrorCode as HttpError, Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use wasi::io::streams::{InputStream, StreamError};
use wasi::sockets::network::{ErrorCode, IpAddressFamily};
use wasi::sockets::tcp_create_socket::create_tcp_socket;
use wasi::sockets::udp_create_socket::create_udp_socket;

struct Candidate;
export!(Candidate);

impl Guest for Candidate {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let given = |name| guests::query_of(&path, name).unwrap_or_default();
        match given("op").as_str() {
            "relay" => match relay(&given("url"), &given("first")) {
                Ok((status, text)) => answer(out, status, &text, Vec::new()),
                Err(error) => answer(out, 502, format!("{error:?}").as_bytes(), Vec::new()),
            },
            "sockets" => {
                let tcp = create_tcp_socket(IpAddressFamily::Ipv6).expect("a socket");
                let udp = create_udp_socket(IpAddressFamily::Ipv4).expect("a socket");
                let told = |result: Result<String, ErrorCode>| {
                    result.unwrap_or_else(|error| format!("Err({})", error.name()))
                };
                let set = |only| tcp.set_ipv6_only(only).map(|()| "Ok(())".to_owned());
                let all = [
                    told(tcp.ipv6_only().map(|only| format!("Ok({only})"))),
                    told(set(true)),
                    told(set(false)),
                    told(udp.ipv6_only().map(|only| format!("Ok({only})"))),
                ];
                answer(out, 200, all.join(" ").as_bytes(), Vec::new());
            }
            _ => {
                let body = request.consume().expect("the body is taken once");
                let stream = body.stream().expect("the stream is taken once");
                let text = read(&stream);
                drop(stream);
                let future = IncomingBody::finish(body);
                future.subscribe().block();
                let trailers = future
                    .get()
                    .expect("it is ready")
                    .expect("the body was whole");
                let trailers = trailers.map_or(Vec::new(), |trailers| trailers.entries());
                answer(out, 200, &text, trailers);
            }
        }
    }
}

fn answer(out: ResponseOutparam, status: u16, text: &[u8], trailers: Vec<(String, Vec<u8>)>) {
    let headers = Fields::new();
    headers
        .append(&"trailer".to_owned(), &b"x-sum".to_vec())
        .expect("a header");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a valid status");
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    for piece in text.chunks(4096) {
        stream
            .blocking_write_and_flush(piece)
            .expect("the client reads");
    }
    drop(stream);
    let trailers =
        (!trailers.is_empty()).then(|| Fields::from_list(&trailers).expect("they came like this"));
    OutgoingBody::finish(body, trailers).expect("no length was promised");
}

fn read(stream: &InputStream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(piece) => all.extend(piece),
            Err(StreamError::Closed) => return all,
            Err(StreamError::LastOperationFailed(error)) => panic!("{}", error.to_debug_string()),
        }
    }
}

fn relay(url: &str, first: &str) -> Result<(u16, Vec<u8>), HttpError> {
    let (_, rest) = url.split_once("://").expect("a URL");
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request
        .set_authority(Some(authority))
        .expect("an authority");
    request.set_path_with_query(Some(path)).expect("a path");
    let options = RequestOptions::new();
    let first = first.parse::<u64>().expect("a number") * 1_000_000;
    options
        .set_first_byte_timeout_ms(Some(first))
        .expect("a timeout");
    options.set_connect_timeout_ms(None).expect("none");
    assert_eq!(options.first_byte_timeout_ms(), Some(first));
    let future = handle(request, Some(options))?;
    future.subscribe().block();
    let response = future
        .get()
        .expect("it is ready")
        .expect("it is asked once")?;
    let body = response.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    Ok((response.status(), read(&stream)))
}
