//! An HTTP guest, run by either program, and a client that sees every byte of the answer.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::command::{Bytes, cache};
use crate::workshop::Workshop;

/// Longer than the slowest guest takes to be compiled on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(600);

/// Longer than any answer takes, so that a hang is a failure.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// What both programs print before the address when they listen.
const SERVING: &str = "http://";

/// A server that ends when dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: Cow<'static, str>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Option<Vec<u8>>,
}

/// An answer, without what each server may choose: the date, and how it marks the body's
/// end.
#[derive(PartialEq)]
pub(crate) struct Answer {
    /// 0 if the connection ended before.
    pub(crate) status: u16,
    /// In lower case and in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body is complete.
    pub(crate) whole: bool,
}

impl Server {
    /// `skiff run`.
    pub(crate) fn skiff(workshop: &Workshop, guest: &Path) -> Result<Server, String> {
        Server::application(workshop, guest, &[])
    }

    /// `skiff run` of a component, or of a manifest's folder with values of its variables.
    pub(crate) fn application(
        workshop: &Workshop,
        application: &Path,
        variables: &[&str],
    ) -> Result<Server, String> {
        let mut command = Command::new(workshop.skiff());
        command
            .arg("run")
            .arg(application)
            .args(variables.iter().flat_map(|value| ["--variable", value]))
            .env("SKIFF_HTTP_LISTEN_ADDR", "127.0.0.1:0")
            .env("SKIFF_CACHE_DIR", workshop.work("skiff-cache"));
        Server::start(command)
    }

    /// `wasmtime serve`.
    pub(crate) fn wasmtime(workshop: &Workshop, guest: &Path) -> Result<Server, String> {
        let mut command = Command::new(workshop.wasmtime()?);
        command
            .args(["serve", "--addr=127.0.0.1:0", "-Scli"])
            // Interfaces of Spin that an SDK imports for all its applications, used or not.
            .arg("-Wunknown-imports-trap")
            .arg(cache(workshop)?)
            .arg(guest);
        Server::start(command)
    }

    fn start(mut command: Command) -> Result<Server, String> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .map_err(|failed| format!("{name}: {failed}"))?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            pass_on(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            pass_on(stderr, sender);
        }
        let mut said = String::new();
        while let Ok(line) = lines.recv_timeout(START_WITHIN) {
            if let Some(address) = address(&line) {
                return Ok(Server { child, address });
            }
            said.push_str(&line);
            said.push('\n');
        }
        child.kill().ok();
        child.wait().ok();
        Err(format!("{name} did not start to serve; it said:\n{said}"))
    }

    /// Sends one request on a new connection and reads to its end.
    pub(crate) fn ask(&self, request: &Request) -> Result<Answer, String> {
        self.exchange(request)
            .map(|bytes| Answer::read(&bytes))
            .map_err(|failed| format!("no exchange with {}: {failed}", self.address))
    }

    fn exchange(&self, request: &Request) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let mut sending = stream.try_clone()?;
        thread::scope(|scope| {
            // A server that streams answers while the body still arrives.
            scope.spawn(move || sending.write_all(&request.bytes()));
            let mut bytes = Vec::new();
            match stream.read_to_end(&mut bytes) {
                // Data before a reset counts: that is how a body is cut.
                Err(failed) if bytes.is_empty() => Err(failed),
                _ => Ok(bytes),
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn pass_on(from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // The output is not needed once the address is known, but the pipe has to be
            // drained.
            to.send(line).ok();
        }
    });
}

/// The address in a line such as `Serving HTTP on http://127.0.0.1:1234/`.
fn address(line: &str) -> Option<SocketAddr> {
    let (before, after) = line.split_once(SERVING)?;
    let after = before.contains("Serving").then_some(after)?;
    after.trim_end().trim_end_matches('/').parse().ok()
}

impl Request {
    /// A request without a body.
    pub(crate) fn get(path: impl Into<Cow<'static, str>>) -> Request {
        Request {
            path: path.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nhost: guest.test\r\nconnection: close\r\n",
            self.path
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}

impl Answer {
    fn read(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let Some(end) = end else {
            return Answer {
                status: 0,
                headers: Vec::new(),
                body: bytes.to_vec(),
                whole: false,
            };
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        headers.sort();
        let value = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let rest = &bytes[end + 4..];
        let length = value("content-length").and_then(|length| length.parse().ok());
        let (body, whole) = if value("transfer-encoding").is_some() {
            unchunked(rest)
        } else {
            (
                rest.to_vec(),
                length.is_none_or(|length: usize| length == rest.len()),
            )
        };
        // A correct length adds no information to the body.
        let framing = ["connection", "date", "keep-alive", "transfer-encoding"];
        headers.retain(|(name, _)| {
            !framing.contains(&name.as_str()) && (name != "content-length" || !whole)
        });
        Answer {
            status: status.unwrap_or(0),
            headers,
            body,
            whole,
        }
    }
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|w| w == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&rest[..line]).ok();
        let Some(size) = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok()) else {
            return (body, false);
        };
        rest = &rest[line + 2..];
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = rest.get(..size) else {
            body.extend_from_slice(rest);
            return (body, false);
        };
        body.extend_from_slice(chunk);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.whole { "whole" } else { "cut" };
        write!(
            f,
            "{} {:?}, {whole}, {}",
            self.status,
            self.headers,
            Bytes(&self.body)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_tell_their_address() {
        let told = "127.0.0.1:1234".parse().ok();
        assert_eq!(address("Serving http://127.0.0.1:1234"), told);
        assert_eq!(address("Serving HTTP on http://127.0.0.1:1234/"), told);
        assert_eq!(address("see http://127.0.0.1:1234"), None);
    }

    #[test]
    fn how_a_body_is_framed_makes_no_difference_and_its_end_does() {
        let chunked =
            b"HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let counted = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(Answer::read(chunked), Answer::read(counted));
        let cut = Answer::read(&chunked[..chunked.len() - 5]);
        assert_eq!((cut.body.as_slice(), cut.whole), (b"hi".as_slice(), false));
        assert!(!Answer::read(&counted[..counted.len() - 1]).whole);
    }
}
