//! Echoes the body, and after it the request's trailers, with its own trailer `x-count`.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingBody, IncomingRequest, OutgoingBody, ResponseOutparam};

struct Trailers;
wasip2::http::proxy::export!(Trailers with_types_in wasip2);

impl Guest for Trailers {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (incoming, input) = guests::body(&request);
        let headers = Fields::new();
        headers
            .append("trailer", b"x-count")
            .expect("a name that guests may set");
        let (body, output) = guests::begin(out, 200, headers);
        let mut count = 0;
        while let Some(piece) = guests::read(&input) {
            count += piece.len();
            guests::write(&output, &piece);
        }
        drop((input, output));
        let trailers = received(incoming).unwrap_or_else(Fields::new);
        trailers
            .append("x-count", count.to_string().as_bytes())
            .expect("a name that guests may set");
        OutgoingBody::finish(body, Some(trailers)).expect("no length was promised");
    }
}

/// The client's trailers, in a mutable set.
fn received(body: IncomingBody) -> Option<Fields> {
    let future = IncomingBody::finish(body);
    future.subscribe().block();
    let result = future
        .get()
        .expect("it is ready")
        .expect("it is asked once");
    Some(result.expect("the body was whole")?.clone())
}
