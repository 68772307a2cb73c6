//! Promises a body of 100 bytes, writes 10 and leaves it unfinished.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

struct ShortBody;
wasip2::http::proxy::export!(ShortBody with_types_in wasip2);

impl Guest for ShortBody {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::new();
        headers
            .append("content-length", b"100")
            .expect("a name that guests may set");
        let (_body, stream) = guests::begin(out, 200, headers);
        guests::write(&stream, b"0123456789");
    }
}
