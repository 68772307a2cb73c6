//! Answers a number that should be random: the hash of nothing, with the seed that the
//! standard library uses for hash tables.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Random;
wasip2::http::proxy::export!(Random with_types_in wasip2);

impl Guest for Random {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let number = RandomState::new().build_hasher().finish();
        guests::answer(out, 200, format!("{number:016x}\n"));
    }
}
