//! Answers a number that programs take for random: the hash of nothing, by the seed that
//! the standard library has its tables use.

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
