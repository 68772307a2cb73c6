//! Prints `?lines=N` lines of `?length=N` bytes to stdout and to stderr in turn, then answers.
//!
//! A line has its stream, its number and padding, so that a torn or mixed one is
//! detected.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct PrintALot;
wasip2::http::proxy::export!(PrintALot with_types_in wasip2);

impl Guest for PrintALot {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let lines = guests::number(&request, "lines", 100);
        let length = guests::number(&request, "length", 100_000) as usize;
        for line in 0..lines {
            // Rust's own padding ends at 65,535.
            let filled = |stream: &str, filling: &str| {
                let text = format!("{stream} {line:06} ");
                let rest = filling.repeat(length.saturating_sub(text.len()));
                text + &rest
            };
            println!("{}", filled("out", "o"));
            eprintln!("{}", filled("err", "e"));
        }
        guests::answer(out, 200, format!("{lines} lines\n"));
    }
}
