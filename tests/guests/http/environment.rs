//! Answers with its arguments and then its environment, sorted, one per line.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Environment;
wasip2::http::proxy::export!(Environment with_types_in wasip2);

impl Guest for Environment {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let mut text: String = std::env::args().map(|arg| format!("arg {arg}\n")).collect();
        let mut named: Vec<_> = std::env::vars().collect();
        named.sort();
        for (name, value) in named {
            text.push_str(&format!("env {name}={value}\n"));
        }
        guests::answer(out, 200, text);
    }
}
