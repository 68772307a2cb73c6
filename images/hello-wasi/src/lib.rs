//! Hello without any SDK: the component implements `wasi:http/proxy@0.2` itself.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;
wasip2::http::proxy::export!(Hello with_types_in wasip2);

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("a new response has its body");
        // The head leaves at once; the body follows through the stream.
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a new body has its stream");
        stream
            .blocking_write_and_flush(b"Hello from WASI\n")
            .expect("the client reads its answer");
        // A body can only be finished when no stream into it is left.
        drop(stream);
        OutgoingBody::finish(body, None).expect("no length was promised");
    }
}
