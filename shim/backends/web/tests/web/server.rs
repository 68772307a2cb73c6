//! A stand-in: an HTTP/1.1 server whose answers a test chooses.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method and target.
    pub(crate) line: String,
    /// Header lines, in lower case.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

/// What it does with a request.
pub(crate) enum Does {
    /// Answers with this status and body.
    Answer(u16, Vec<u8>),
    /// Sends the client to another place.
    Redirect(String),
    /// Promises more bytes than it sends.
    BreaksOff(Vec<u8>),
    /// Never answers.
    Nothing,
}

/// It ends with the test's process.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn new(does: impl Fn(&Request) -> Does + Send + 'static) -> Self {
        Self::start("http://127.0.0.1", Some, does)
    }

    /// The same over TLS.
    pub(crate) fn over_tls(
        config: Arc<ServerConfig>,
        does: impl Fn(&Request) -> Does + Send + 'static,
    ) -> Self {
        let agree = move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            // A client that does not trust it leaves.
            stream.conn.complete_io(&mut stream.sock).ok()?;
            Some(stream)
        };
        Self::start("https://localhost", agree, does)
    }

    fn start<S: Read + Write + Send + 'static>(
        base: &str,
        agree: impl Fn(TcpStream) -> Option<S> + Send + 'static,
        does: impl Fn(&Request) -> Does + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{base}:{}", listener.local_addr().unwrap().port());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            // Kept open, so that a client waits.
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let Some(mut stream) = agree(stream.unwrap()) else {
                    continue;
                };
                let Some(request) = read(&mut stream) else {
                    continue;
                };
                seen.lock().unwrap().push(request.clone());
                match does(&request) {
                    Does::Answer(status, body) => {
                        answer(&mut stream, status, "", body.len(), &body)
                    }
                    Does::Redirect(to) => {
                        answer(&mut stream, 307, &format!("location: {to}\r\n"), 0, b"");
                    }
                    Does::BreaksOff(body) => answer(&mut stream, 200, "", body.len() + 1, &body),
                    Does::Nothing => silent.push(stream),
                }
            }
        });
        Server { url, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &mut impl Read) -> Option<Request> {
    let mut lines = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        match line()? {
            empty if empty.is_empty() => break,
            header => headers.push(header.to_lowercase()),
        }
    }
    let length = headers
        .iter()
        .find_map(|header| header.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    Some(Request {
        line: first.strip_suffix(" HTTP/1.1")?.to_owned(),
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

fn answer(stream: &mut impl Write, status: u16, headers: &str, length: usize, body: &[u8]) {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n");
    // A client may have left.
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .ok();
}
