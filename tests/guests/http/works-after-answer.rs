//! Answers, keeps working for `?ms=N` milliseconds, and prints to stdout when that begins
//! and ends.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct WorksAfterAnswer;
wasip2::http::proxy::export!(WorksAfterAnswer with_types_in wasip2);

impl Guest for WorksAfterAnswer {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        guests::answer(out, 200, "answered\n");
        println!("work begins");
        subscribe_duration(guests::number(&request, "ms", 100) * 1_000_000).block();
        println!("work ends");
    }
}
