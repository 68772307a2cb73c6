//! Traps before it answered. `?how=panic` (the default), `unreachable` or `memory`.

use std::hint::black_box;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// Past the end of this guest's memory.
const NOWHERE: usize = 0xffff_fff0;

struct Trap;
wasip2::http::proxy::export!(Trap with_types_in wasip2);

impl Guest for Trap {
    fn handle(request: IncomingRequest, _out: ResponseOutparam) {
        match guests::query(&request, "how").as_deref() {
            Some("unreachable") => core::arch::wasm32::unreachable(),
            Some("memory") => {
                let address = black_box(NOWHERE) as *const u64;
                // SAFETY: the load traps instead of returning a value, as intended.
                black_box(unsafe { address.read_volatile() });
            }
            _ => panic!("this guest was asked to panic"),
        }
    }
}
