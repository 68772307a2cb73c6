//! Answers with `?count=N` headers of `?size=N` bytes each; `?status=N` sets the status.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

struct BigHeaders;
wasip2::http::proxy::export!(BigHeaders with_types_in wasip2);

impl Guest for BigHeaders {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::new();
        let value = vec![b'v'; guests::number(&request, "size", 1024) as usize];
        for number in 0..guests::number(&request, "count", 10) {
            headers
                .append(&format!("x-big-{number}"), &value)
                .expect("the host has room for the headers");
        }
        let status = guests::number(&request, "status", 200) as u16;
        let (body, stream) = guests::begin(out, status, headers);
        guests::finish(body, stream);
    }
}
