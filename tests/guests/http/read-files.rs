//! Answers with the file at `?path=…`, or with the sorted names of the folder there.
//!
//! An error of the operating system is a 404 with its reason.

use std::fs;
use std::io;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct ReadFiles;
wasip2::http::proxy::export!(ReadFiles with_types_in wasip2);

impl Guest for ReadFiles {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = guests::query(&request, "path").unwrap_or_else(|| "/".to_owned());
        match read(&path) {
            Ok(bytes) => guests::answer(out, 200, bytes),
            Err(refused) => guests::answer(out, 404, format!("{refused}\n")),
        }
    }
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_dir() {
        return fs::read(path);
    }
    let mut names = fs::read_dir(path)?
        .map(|entry| Ok(format!("{}\n", entry?.file_name().to_string_lossy())))
        .collect::<io::Result<Vec<String>>>()?;
    names.sort();
    Ok(names.concat().into_bytes())
}
