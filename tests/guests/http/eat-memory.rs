//! Allocates and touches `?mib=N` MiB, without a number as much as possible, and answers
//! how much it has.

use std::hint::black_box;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct EatMemory;
wasip2::http::proxy::export!(EatMemory with_types_in wasip2);

impl Guest for EatMemory {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let wanted = guests::number(&request, "mib", u64::MAX);
        let mut taken: Vec<Vec<u8>> = Vec::new();
        while (taken.len() as u64) < wanted {
            // Bytes other than zero make every page a real one.
            taken.push(black_box(vec![1; 1 << 20]));
        }
        guests::answer(out, 200, format!("{} MiB\n", taken.len()));
    }
}
