//! Waits forever inside a call to the host. `?head=1` sends the head first.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

struct Hang;
wasip2::http::proxy::export!(Hang with_types_in wasip2);

impl Guest for Hang {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let _begun =
            guests::query(&request, "head").map(|_| guests::begin(out, 200, Fields::new()));
        loop {
            // Years, again and again: longer than any host waits.
            subscribe_duration(u64::MAX / 2).block();
        }
    }
}
