//! Computes without an end and without calling the host: only a deadline can stop it.
//!
//! `?head=1` sends the head of the answer first.

use std::hint::black_box;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

struct LoopForever;
wasip2::http::proxy::export!(LoopForever with_types_in wasip2);

impl Guest for LoopForever {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let _begun =
            guests::query(&request, "head").map(|_| guests::begin(out, 200, Fields::new()));
        let mut turns = 0_u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    }
}
