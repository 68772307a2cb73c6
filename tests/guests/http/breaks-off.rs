//! Sends `?bytes=N` bytes (default 100), of a promised `length` if there is one, and then
//! breaks off by `how`: 0 drops the body, 1 forgets it, 2 waits and traps.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

struct BreaksOff;
wasip2::http::proxy::export!(BreaksOff with_types_in wasip2);

impl Guest for BreaksOff {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let number = |name, default| guests::number(&request, name, default);
        let (bytes, length, how) = (number("bytes", 100), number("length", 0), number("how", 0));
        let headers = Fields::new();
        if length > 0 {
            let length = length.to_string();
            headers
                .append("content-length", length.as_bytes())
                .expect("a name that guests may set");
        }
        let (body, stream) = guests::begin(out, 200, headers);
        guests::write(&stream, &vec![b'x'; bytes as usize]);
        match how {
            0 => drop((stream, body)),
            1 => std::mem::forget((stream, body)),
            _ => {
                wasip2::clocks::monotonic_clock::subscribe_duration(50_000_000).block();
                panic!("this guest stops in the middle of its answer");
            }
        }
    }
}
