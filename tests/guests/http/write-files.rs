//! Writes the request's body to the file at `?path=…`; with `DELETE` it removes the file.
//!
//! An error of the operating system is a 403 with its reason.

use std::fs;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, Method, ResponseOutparam};

struct WriteFiles;
wasip2::http::proxy::export!(WriteFiles with_types_in wasip2);

impl Guest for WriteFiles {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = guests::query(&request, "path").expect("a path");
        let done = match request.method() {
            Method::Delete => fs::remove_file(&path),
            _ => {
                let (_body, stream) = guests::body(&request);
                let bytes: Vec<u8> = std::iter::from_fn(|| guests::read(&stream))
                    .flatten()
                    .collect();
                fs::write(&path, bytes)
            }
        };
        match done {
            Ok(()) => guests::answer(out, 200, "done\n"),
            Err(refused) => guests::answer(out, 403, format!("{refused}\n")),
        }
    }
}
