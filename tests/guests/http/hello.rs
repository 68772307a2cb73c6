//! Answers every request with one line, in as few calls as that takes: throughput is measured with it.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

struct Hello;
wasip2::http::proxy::export!(Hello with_types_in wasip2);

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let (body, stream) = guests::begin(out, 200, Fields::new());
        stream
            .blocking_write_and_flush(b"Hello from Wasm\n")
            .expect("the client reads");
        guests::finish(body, stream);
    }
}
