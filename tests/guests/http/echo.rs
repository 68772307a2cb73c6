//! Sends the request's body back while it still arrives, never holding more than one piece.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

struct Echo;
wasip2::http::proxy::export!(Echo with_types_in wasip2);

impl Guest for Echo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (_incoming, input) = guests::body(&request);
        let (body, output) = guests::begin(out, 200, Fields::new());
        // The head is out before the first byte came in, so what breaks later can only cut the body.
        while let Some(piece) = guests::read(&input) {
            guests::write(&output, &piece);
        }
        guests::finish(body, output);
    }
}
