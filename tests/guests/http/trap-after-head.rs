//! Sends the head and `?bytes=N` bytes of the body (default 5), and then traps.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

struct TrapAfterHead;
wasip2::http::proxy::export!(TrapAfterHead with_types_in wasip2);

impl Guest for TrapAfterHead {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let bytes = guests::number(&request, "bytes", 5) as usize;
        let (_body, stream) = guests::begin(out, 200, Fields::new());
        guests::write(&stream, &vec![b'x'; bytes]);
        panic!("this guest stops in the middle of its answer");
    }
}
