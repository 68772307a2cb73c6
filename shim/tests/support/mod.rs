//! `skiff run` as a user starts it, and a client that sees every byte.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod relay;
pub(crate) mod stand_in;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

/// Longer than any test takes, so that a hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pod's health endpoint.
pub(crate) const HEALTH: &str = "/.well-known/spin/health";

/// A guest built by `make images`.
pub(crate) fn guest(name: &str) -> PathBuf {
    let path = root().join("target/guests").join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{} is missing: run `make images`",
        path.display()
    );
    path
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All tests of one build share the cache, so each guest is compiled once.
fn cache() -> PathBuf {
    root().join("target/test-cache")
}

pub(crate) struct Skiff {
    command: Command,
    folder: tempfile::TempDir,
    /// Its temporary folder, which remains if the process is killed.
    scratch: tempfile::TempDir,
}

pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    lines: Mutex<mpsc::Receiver<String>>,
    errors: Option<std::thread::JoinHandle<String>>,
    _folders: [tempfile::TempDir; 2],
}

pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Skiff {
    /// A single component.
    pub(crate) fn component(name: &str) -> Self {
        Skiff::of(&guest(name))
    }

    /// A manifest, in which `{name}` stands for a guest's file.
    pub(crate) fn manifest(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = text.to_owned();
        while let Some(start) = text.find("{guest:") {
            let end = start + text[start..].find('}').unwrap();
            let name = text[start + 7..end].to_owned();
            let file = format!("{name}.wasm");
            std::fs::copy(guest(&name), folder.path().join(&file)).unwrap();
            text.replace_range(start..=end, &file);
        }
        std::fs::write(folder.path().join("spin.toml"), text).unwrap();
        let mut skiff = Skiff::of(folder.path());
        skiff.folder = folder;
        skiff
    }

    pub(crate) fn of(application: &Path) -> Self {
        Skiff::with_arguments(&[application])
    }

    fn with_arguments(arguments: &[impl AsRef<OsStr>]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_skiff"));
        command
            .arg("run")
            .args(arguments)
            .env_clear()
            .env("TMPDIR", scratch.path())
            .env("SKIFF_HTTP_LISTEN_ADDR", "127.0.0.1:0")
            .env("SKIFF_CACHE_DIR", cache())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Skiff {
            command,
            folder: tempfile::tempdir().unwrap(),
            scratch,
        }
    }

    /// The application as a user in `folder` would name it; an empty list names none.
    pub(crate) fn named(folder: &Path, application: &[&str]) -> Self {
        let mut skiff = Skiff::with_arguments(application);
        skiff.command.current_dir(folder);
        skiff
    }

    /// Starts it with a piped standard input, for tests that read and write themselves.
    pub(crate) fn spawn(mut self) -> (Child, [tempfile::TempDir; 2]) {
        let child = self.command.stdin(Stdio::piped()).spawn().unwrap();
        (child, [self.folder, self.scratch])
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Redirects its standard output.
    pub(crate) fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).ok();
            text
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let Ok(first) = lines.recv_timeout(PATIENCE) else {
            child.kill().ok();
            child.wait().ok();
            panic!("skiff did not start: {}", errors.join().unwrap());
        };
        Running {
            child,
            address: address(&first),
            lines: Mutex::new(lines),
            errors: Some(errors),
            _folders: [self.folder, self.scratch],
        }
    }

    /// Starts it, and reads only the line with its address.
    pub(crate) fn start_unread(mut self) -> (Running, BufReader<ChildStdout>, ChildStderr) {
        let mut child = self.command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let mut stdout = BufReader::with_capacity(1, child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let running = Running {
            child,
            address: address(first.trim_end()),
            lines: Mutex::new(mpsc::channel().1),
            errors: None,
            _folders: [self.folder, self.scratch],
        };
        (running, stdout, stderr)
    }

    /// Runs it to its end, with `input` as its standard input.
    pub(crate) fn end_with(mut self, input: &[u8]) -> Ended {
        self.command.stdin(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input).ok());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Ended {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it to its end.
    pub(crate) fn end(mut self) -> Ended {
        let child = self.command.spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        Ended {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The address in the line that it prints.
fn address(line: &str) -> SocketAddr {
    let address = line.strip_prefix("Serving http://").unwrap();
    address.parse().unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body was complete.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Running {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request without waiting for the answer.
    pub(crate) fn ask(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        ))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    /// Sends bytes unchanged and reads until the connection ends.
    pub(crate) fn send(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        answer(stream)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, number: i32) {
        // SAFETY: the child has not been waited for, so the process id is still its own.
        unsafe { libc::kill(self.child.id() as i32, number) };
    }

    /// Lines printed so far, waiting until there are `count`.
    pub(crate) fn lines(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        (0..count)
            .map(|_| lines.recv_timeout(PATIENCE).expect("a line"))
            .collect()
    }

    /// Asks it to stop and waits for its end.
    pub(crate) fn stop(mut self) -> Ended {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> Ended {
        let status = self.child.wait().unwrap();
        let stderr = self.errors.take().map(|e| e.join().unwrap());
        Ended {
            status,
            stdout: self
                .lines
                .lock()
                .unwrap()
                .iter()
                .fold(String::new(), |all, line| all + &line + "\n"),
            stderr: stderr.unwrap_or_default(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
    let end = end.unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let rest = bytes.get(end + 4..).unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    let lower = head.to_ascii_lowercase();
    let (body, whole) = if lower.contains("transfer-encoding: chunked") {
        unchunk(rest)
    } else {
        let length = lower.split("content-length: ").nth(1);
        let length = length.and_then(|l| l.lines().next()?.trim().parse().ok());
        (
            rest.to_vec(),
            length.is_none_or(|length: usize| rest.len() == length),
        )
    };
    Answer {
        whole: whole && status.is_some(),
        status: status.unwrap_or(0),
        head,
        body,
    }
}

fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|w| w == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&rest[..line]).ok();
        let Some(size) = size.and_then(|s| usize::from_str_radix(s.trim(), 16).ok()) else {
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
