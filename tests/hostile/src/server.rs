//! The program while it serves, and a client that controls every byte.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::program::Folders;

/// The health endpoint of every application.
const HEALTH: &str = "/.well-known/spin/health";

/// A serving application. Killed when dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
    stderr: Option<JoinHandle<String>>,
    patience: Duration,
    _folders: Folders,
}

/// Everything received on a connection, to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status, 0 if none came.
    pub status: u16,
    /// The first mebibyte after the head, as it was sent.
    pub rest: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

impl Server {
    #[track_caller]
    pub(crate) fn new(mut child: Child, folders: Folders, patience: Duration) -> Self {
        let stderr = child.stderr.take().map(|mut pipe| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                pipe.read_to_end(&mut bytes).ok();
                String::from_utf8_lossy(&bytes).into_owned()
            })
        });
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Only the first line is waited for, but the pipe is read to its end.
                sender.send(line).ok();
            }
        });
        let first = lines.recv_timeout(patience);
        let address = first
            .ok()
            .and_then(|line| line.strip_prefix("Serving http://")?.parse().ok());
        let Some(address) = address else {
            child.kill().ok();
            child.wait().ok();
            let said = stderr.and_then(|reader| reader.join().ok());
            panic!("it does not serve: {}", said.unwrap_or_default());
        };
        Server {
            child,
            address,
            stderr,
            patience,
            _folders: folders,
        }
    }

    /// A connection whose reads and writes have a timeout.
    ///
    /// # Panics
    ///
    /// If it is not accepted.
    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, self.patience).expect("accepted");
        stream.set_read_timeout(Some(self.patience)).expect("set");
        stream.set_write_timeout(Some(self.patience)).expect("set");
        stream
    }

    /// Sends exactly these bytes, and reads to the end.
    #[track_caller]
    pub fn send(&self, bytes: &[u8]) -> Answer {
        let began = Instant::now();
        let mut stream = self.connect();
        // It may have answered and closed before it has read all of it.
        stream.write_all(bytes).ok();
        stream.shutdown(Shutdown::Write).ok();
        let answer = read(&mut stream);
        let head = answer.windows(4).position(|part| part == b"\r\n\r\n");
        let rest = head.map_or(Vec::new(), |end| answer[end + 4..].to_vec());
        let text = String::from_utf8_lossy(&answer);
        let status = text.strip_prefix("HTTP/1.").and_then(|t| t.get(2..5));
        Answer {
            status: status.and_then(|t| t.parse().ok()).unwrap_or_default(),
            rest,
            took: began.elapsed(),
        }
    }

    /// GET, on a new connection.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        self.send(request.as_bytes())
    }

    /// Whether a request is served, for which idle connections may have to end first.
    #[track_caller]
    pub fn is_served_soon(&self) -> bool {
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            self.get("/").status == 200
        })
    }

    /// Checks that it answers the health endpoint.
    ///
    /// # Panics
    ///
    /// If it does not.
    #[track_caller]
    pub fn is_healthy(&self) -> Duration {
        let answer = self.get(HEALTH);
        assert_eq!(answer.status, 200, "health: {answer:?}");
        answer.took
    }

    /// The id of its first process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits for the end. Returns how long that took, the status and
    /// its standard error.
    ///
    /// # Panics
    ///
    /// If it does not end.
    #[track_caller]
    pub fn stop(mut self) -> (Duration, ExitStatus, String) {
        let began = Instant::now();
        // SAFETY: the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            assert!(began.elapsed() < self.patience, "it does not stop");
            std::thread::sleep(Duration::from_millis(2));
        };
        let said = self.stderr.take().and_then(|reader| reader.join().ok());
        (began.elapsed(), status, said.unwrap_or_default())
    }
}

/// Reads to the end and keeps only the beginning: a test's memory counts for its
/// children.
fn read(stream: &mut TcpStream) -> Vec<u8> {
    const KEPT: usize = 1 << 20;

    let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        let room = KEPT.saturating_sub(answer.len());
        answer.extend_from_slice(&buffer[..read.min(room)]);
    }
    answer
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
