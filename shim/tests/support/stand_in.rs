//! A stand-in for a server that Skiff asks: HTTP/1.1, one request a connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

/// Starts a server that answers each request line with a status and a body, and returns its
/// URL. It ends with the test's process.
pub(crate) fn server(answer: impl Fn(&str) -> (u16, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines();
            let Some(Ok(first)) = lines.next() else {
                continue;
            };
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            drop(lines);
            let (status, body) = answer(&first);
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n");
            // A client may have left.
            stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&body))
                .ok();
        }
    });
    url
}
