//! Calls itself `?depth=N` times, without a number until the stack is used up, and answers.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Recurse;
wasip2::http::proxy::export!(Recurse with_types_in wasip2);

impl Guest for Recurse {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let depth = guests::number(&request, "depth", u64::MAX);
        let mixed = deeper(depth);
        guests::answer(out, 200, format!("{depth} deep: {mixed:x}\n"));
    }
}

/// Nothing here is in linear memory, so the host's stack ends instead of the guest's own.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    match depth {
        0 => 1,
        _ => deeper(depth - 1).rotate_left(7).wrapping_mul(depth | 1),
    }
}
