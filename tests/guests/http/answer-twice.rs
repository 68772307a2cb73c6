//! Gives a complete answer, and then tries to give another through the consumed handle.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct AnswerTwice;
wasip2::http::proxy::export!(AnswerTwice with_types_in wasip2);

impl Guest for AnswerTwice {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let handle = out.handle();
        guests::answer(out, 200, "the first answer\n");
        // SAFETY: the handle is known to be dead; the test is that the host notices.
        let again = unsafe { ResponseOutparam::from_handle(handle) };
        guests::answer(again, 418, "the second answer\n");
    }
}
