//! Prints two lines to stdout, two to stderr, and to each a last one without a newline.

use std::io::Write;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct PrintLines;
wasip2::http::proxy::export!(PrintLines with_types_in wasip2);

impl Guest for PrintLines {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        print!("stdout one\nstdout ");
        std::io::stdout().flush().expect("stdout is open");
        println!("two");
        eprint!("stderr one\nstderr ");
        eprintln!("two");
        print!("stdout without an end");
        std::io::stdout().flush().expect("stdout is open");
        eprint!("stderr without an end");
        guests::answer(out, 200, "printed\n");
    }
}
