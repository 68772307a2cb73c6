//! Returns without an answer.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct NeverAnswer;
wasip2::http::proxy::export!(NeverAnswer with_types_in wasip2);

impl Guest for NeverAnswer {
    fn handle(_request: IncomingRequest, _out: ResponseOutparam) {}
}
