//! A command guest, run by either program.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::workshop::Workshop;

/// Longer than the slowest guest takes to be compiled on a busy machine, so that a hang is a
/// failure.
const PATIENCE: Duration = Duration::from_secs(600);

const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The arguments and input of a guest.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) arguments: Vec<String>,
    pub(crate) input: Vec<u8>,
}

/// How a guest ended.
#[derive(PartialEq)]
pub(crate) struct Ended {
    /// The exit code as in a shell: none after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
}

/// Standard error, to find the cause of a difference.
pub(crate) type Said = String;

/// The variable that every guest gets.
const VARIABLE: &str = "GREETING=good morning";

/// `skiff run`.
pub(crate) fn by_skiff(
    workshop: &Workshop,
    guest: &Path,
    start: &Start,
) -> Result<(Ended, Said), String> {
    let mut command = Command::new(workshop.skiff());
    command
        .args(["run", "--env", VARIABLE])
        .arg(guest)
        .arg("--")
        .args(&start.arguments)
        .env("SKIFF_CACHE_DIR", workshop.work("skiff-cache"));
    end(command, &start.input)
}

/// `wasmtime run`.
pub(crate) fn by_wasmtime(
    workshop: &Workshop,
    guest: &Path,
    start: &Start,
) -> Result<(Ended, Said), String> {
    let mut command = Command::new(workshop.wasmtime()?);
    command.arg("run");
    if is_component(guest).map_err(|failed| format!("{}: {failed}", guest.display()))? {
        // The imports of language runtimes, whether used or not; a module must run
        // without them.
        command.arg("-Shttp");
    }
    command
        .args(["--env", VARIABLE])
        .arg(cache(workshop)?)
        .arg(guest)
        .args(&start.arguments);
    end(command, &start.input)
}

/// Whether the file's header, magic and version, is that of a component.
fn is_component(guest: &Path) -> std::io::Result<bool> {
    let mut header = [0; 8];
    File::open(guest)?.read_exact(&mut header)?;
    Ok(header == *b"\0asm\x0d\0\x01\0")
}

/// The option for a separate cache of wasmtime's compiled code.
pub(crate) fn cache(workshop: &Workshop) -> Result<String, String> {
    let file = workshop.work("wasmtime-cache.toml");
    let folder = workshop.work("wasmtime-cache");
    let text = format!("[cache]\ndirectory = {:?}\n", folder.display().to_string());
    if !std::fs::read_to_string(&file).is_ok_and(|there| there == text) {
        std::fs::write(&file, text).map_err(|failed| format!("{}: {failed}", file.display()))?;
    }
    Ok(format!("-Ccache-config={}", file.display()))
}

fn end(mut command: Command, input: &[u8]) -> Result<(Ended, Said), String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .map_err(|failed| format!("{name}: {failed}"))?;
    let (mut stdin, stdout, stderr) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(move || {
            // A guest that has read enough may end before the rest is written.
            drop(stdin.take().map(|mut stdin| stdin.write_all(input)));
        });
        let read = |mut from: Box<dyn std::io::Read + Send>| {
            scope.spawn(move || {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes)
                    .map(|_| bytes)
                    .unwrap_or_default()
            })
        };
        let stdout = stdout.map(|stdout| read(Box::new(stdout)));
        let stderr = stderr.map(|stderr| read(Box::new(stderr)));
        let status = wait(&mut child).map_err(|failed| format!("{name}: {failed}"))?;
        let bytes = |reader: Option<thread::ScopedJoinHandle<Vec<u8>>>| {
            reader
                .and_then(|reader| reader.join().ok())
                .unwrap_or_default()
        };
        let ended = Ended {
            code: status.code(),
            stdout: bytes(stdout),
        };
        Ok((ended, String::from_utf8_lossy(&bytes(stderr)).into_owned()))
    })
}

/// Waits for the child's end; one that takes too long is killed and an error.
fn wait(child: &mut Child) -> Result<std::process::ExitStatus, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
            Ok(None) => {
                child.kill().ok();
                child.wait().ok();
                return Err(format!("did not end within {} s", PATIENCE.as_secs()));
            }
            Err(failed) => return Err(failed.to_string()),
        }
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self
            .code
            .map_or("a signal".to_owned(), |code| format!("exit {code}"));
        write!(f, "{code}, {}", Bytes(&self.stdout))
    }
}

/// Bytes in readable form: their number, their beginning and their end.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        let (all, size) = (self.0, self.0.len());
        write!(f, "{size} bytes ")?;
        if size <= 2 * SHOWN {
            return write!(f, "\"{}\"", all.escape_ascii());
        }
        let (begin, end) = (&all[..SHOWN], &all[size - SHOWN..]);
        write!(
            f,
            "\"{}\" … \"{}\"",
            begin.escape_ascii(),
            end.escape_ascii()
        )
    }
}
