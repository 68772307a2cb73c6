//! Answers with an error of the interface instead of a response.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{ErrorCode, IncomingRequest, ResponseOutparam};

struct ErrorAnswer;
wasip2::http::proxy::export!(ErrorAnswer with_types_in wasip2);

impl Guest for ErrorAnswer {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let error = ErrorCode::InternalError(Some("the guest gave up".to_owned()));
        ResponseOutparam::set(out, Err(error));
    }
}
