//! Answers with `?bytes=N` bytes, each its own position modulo 251, so that a lost piece shows.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

/// A multiple of 251 keeps the pattern whole from piece to piece.
const PIECE: usize = 251 * 256;

struct StreamDown;
wasip2::http::proxy::export!(StreamDown with_types_in wasip2);

impl Guest for StreamDown {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let mut left = guests::number(&request, "bytes", 1024) as usize;
        let piece: Vec<u8> = (0..PIECE).map(|at| (at % 251) as u8).collect();
        let (body, stream) = guests::begin(out, 200, Fields::new());
        while left > 0 {
            let now = left.min(PIECE);
            guests::write(&stream, &piece[..now]);
            left -= now;
        }
        guests::finish(body, stream);
    }
}
