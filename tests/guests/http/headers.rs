//! Answers with all it sees of the request's head: method, path, scheme, authority, headers.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Headers;
wasip2::http::proxy::export!(Headers with_types_in wasip2);

impl Guest for Headers {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let mut text = format!(
            ":method {:?}\n:path {}\n:scheme {:?}\n:authority {}\n",
            request.method(),
            request.path_with_query().unwrap_or_default(),
            request.scheme(),
            request.authority().unwrap_or_default(),
        );
        for (name, value) in request.headers().entries() {
            text.push_str(&format!("{name}: {}\n", value.escape_ascii()));
        }
        guests::answer(out, 200, text);
    }
}
