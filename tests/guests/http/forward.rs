//! Asks what its variable `URL` names and streams the answer's body on, in as few calls as that takes:
//! the throughput of outbound requests is measured with it.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingRequest, ResponseOutparam, Scheme};
use wasip2::io::streams::StreamError;

struct Forward;
wasip2::http::proxy::export!(Forward with_types_in wasip2);

impl Guest for Forward {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let url = std::env::var("URL").expect("a url");
        let target = url.strip_prefix("http://").expect("a url of http");
        let (authority, path) = target.split_at(target.find('/').expect("a path"));
        let request = OutgoingRequest::new(Fields::new());
        request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
        request
            .set_authority(Some(authority))
            .expect("an authority");
        request.set_path_with_query(Some(path)).expect("a path");
        let future = handle(request, None).expect("the request is allowed");
        future.subscribe().block();
        let response = future
            .get()
            .expect("it is ready")
            .expect("it is asked once");
        let response = response.expect("the server answers");
        let incoming = response.consume().expect("the body is taken once");
        let input = incoming.stream().expect("the stream is taken once");
        let (body, output) = guests::begin(out, response.status(), Fields::new());
        loop {
            match output.blocking_splice(&input, 64 * 1024) {
                Ok(_) => {}
                Err(StreamError::Closed) => break,
                Err(failed) => panic!("a body broke: {failed}"),
            }
        }
        guests::finish(body, output);
    }
}
