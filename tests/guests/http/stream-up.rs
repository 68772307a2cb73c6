//! Reads the request's body to its end and answers how many bytes it had.
//!
//! `?ms=N` waits this long after each read: a slow reader that must cause back-pressure.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct StreamUp;
wasip2::http::proxy::export!(StreamUp with_types_in wasip2);

impl Guest for StreamUp {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let pause = guests::number(&request, "ms", 0) * 1_000_000;
        let (_body, stream) = guests::body(&request);
        let mut count = 0;
        while let Some(piece) = guests::read(&stream) {
            count += piece.len();
            if pause > 0 {
                subscribe_duration(pause).block();
            }
        }
        guests::answer(out, 200, format!("{count}\n"));
    }
}
