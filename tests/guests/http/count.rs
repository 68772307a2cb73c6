//! Answers how many requests this instance has taken: always 1 if each gets a fresh one.

use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

static TAKEN: AtomicU64 = AtomicU64::new(0);

struct Count;
wasip2::http::proxy::export!(Count with_types_in wasip2);

impl Guest for Count {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let number = TAKEN.fetch_add(1, Ordering::Relaxed) + 1;
        guests::answer(out, 200, format!("{number}\n"));
    }
}
