//! Answers after `?ms=N` milliseconds (default 100).

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Sleep;
wasip2::http::proxy::export!(Sleep with_types_in wasip2);

impl Guest for Sleep {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let ms = guests::number(&request, "ms", 100);
        subscribe_duration(ms * 1_000_000).block();
        guests::answer(out, 200, format!("slept {ms} ms\n"));
    }
}
