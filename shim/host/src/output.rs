//! What guests print: passed on line by line, so that lines of requests that run
//! at once, and of workers that share a pipe, are never torn.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// A line that is longer is passed on in pieces, so that a guest that never ends
/// its line cannot fill our memory. containerd itself splits lines at 16 KiB.
const LONGEST_LINE: usize = 64 << 10;

/// Held for each write, as pipes tear what is longer than a page.
static WRITING: Mutex<()> = Mutex::new(());

/// Also held for each write where other processes write to the same pipes.
static SHARED: OnceLock<File> = OnceLock::new();

/// To be called before the process is forked into several that print: from then on
/// they wait for each other's lines.
///
/// # Errors
/// Where the kernel gives no file for the lock.
pub fn share_output() -> io::Result<()> {
    let lock = rustix::fs::memfd_create(c"output", rustix::fs::MemfdFlags::CLOEXEC)?;
    SHARED.get_or_init(|| lock.into());
    Ok(())
}

/// Where a guest's stream goes.
#[derive(Debug, Clone)]
pub struct Output(Arc<Sink>);

#[derive(Debug)]
enum Sink {
    Descriptor(RawFd),
    Memory(Mutex<Vec<u8>>),
    Nowhere,
}

impl Output {
    /// Our own standard output.
    pub fn stdout() -> Self {
        Output(Arc::new(Sink::Descriptor(libc_fd::STDOUT)))
    }

    /// Our own standard error.
    pub fn stderr() -> Self {
        Output(Arc::new(Sink::Descriptor(libc_fd::STDERR)))
    }

    /// Kept, for tests.
    pub fn memory() -> Self {
        Output(Arc::new(Sink::Memory(Mutex::default())))
    }

    /// Dropped.
    pub fn nowhere() -> Self {
        Output(Arc::new(Sink::Nowhere))
    }

    /// What [`memory`](Self::memory) has kept so far.
    pub fn kept(&self) -> Vec<u8> {
        match &*self.0 {
            Sink::Memory(kept) => kept.lock().unwrap_or_else(|e| e.into_inner()).clone(),
            Sink::Descriptor(_) | Sink::Nowhere => Vec::new(),
        }
    }

    /// Writes all of it, waiting for a reader that is slow as any program does.
    fn pass_on(&self, bytes: &[u8]) {
        match &*self.0 {
            Sink::Nowhere => {}
            Sink::Memory(kept) => kept
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .extend_from_slice(bytes),
            Sink::Descriptor(fd) => {
                let threads = WRITING.lock().unwrap_or_else(|e| e.into_inner());
                let processes = SHARED.get().map(RecordLock::take);
                write_all(*fd, bytes);
                drop((processes, threads));
            }
        }
    }

    fn line(&self) -> Line {
        Line {
            output: self.clone(),
            held: Vec::new(),
        }
    }
}

mod libc_fd {
    pub(super) const STDOUT: super::RawFd = 1;
    pub(super) const STDERR: super::RawFd = 2;
}

/// A record lock (`fcntl`): unlike `flock` it keeps apart processes that
/// inherited one open file.
struct RecordLock<'a>(&'a File);

impl<'a> RecordLock<'a> {
    fn take(file: &'a File) -> Self {
        // Without the lock a long line may be torn, which is better than lost.
        if let Err(error) = rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::LockExclusive)
        {
            tracing::debug!(%error, "Cannot lock the output");
        }
        RecordLock(file)
    }
}

impl Drop for RecordLock<'_> {
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::fcntl_lock(self.0, rustix::fs::FlockOperation::Unlock) {
            tracing::debug!(%error, "Cannot unlock the output");
        }
    }
}

/// Nobody can be told that standard output or error is gone, so errors end the
/// write quietly, as they do for any program under a supervisor that has left.
fn write_all(fd: RawFd, mut bytes: &[u8]) {
    // SAFETY: descriptors 1 and 2 stay open for the life of the process.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut poll = [rustix::event::PollFd::from_borrowed_fd(
                    fd,
                    rustix::event::PollFlags::OUT,
                )];
                if rustix::event::poll(&mut poll, None).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// One stream of one instance, with the line it has begun.
struct Line {
    output: Output,
    held: Vec<u8>,
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        match bytes.iter().rposition(|&byte| byte == b'\n') {
            Some(end) if self.held.is_empty() => {
                self.output.pass_on(&bytes[..=end]);
                self.held.extend_from_slice(&bytes[end + 1..]);
            }
            Some(end) => {
                self.held.extend_from_slice(&bytes[..=end]);
                self.output.pass_on(&self.held);
                self.held.clear();
                self.held.extend_from_slice(&bytes[end + 1..]);
            }
            None => self.held.extend_from_slice(bytes),
        }
        if self.held.len() > LONGEST_LINE {
            self.output.pass_on(&self.held);
            self.held.clear();
        }
    }
}

impl Drop for Line {
    /// What the guest never ended is a line of its own.
    fn drop(&mut self) {
        if !self.held.is_empty() {
            self.held.push(b'\n');
            self.output.pass_on(&self.held);
        }
    }
}

/// What is written at once is kept together.
impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pass_on(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        match &*self.0 {
            Sink::Descriptor(fd) => {
                // SAFETY: as in `write_all`.
                let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
                rustix::termios::isatty(fd)
            }
            Sink::Memory(_) | Sink::Nowhere => false,
        }
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.line())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.line())
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for Line {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(LONGEST_LINE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Line {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_passed_on_whole_and_the_last_one_is_ended() {
        let output = Output::memory();
        let mut first = output.line();
        let mut second = output.line();
        first.push(b"one ");
        second.push(b"two\n");
        first.push(b"three\nfour");
        assert_eq!(output.kept(), b"two\none three\n");
        drop(first);
        assert_eq!(output.kept(), b"two\none three\nfour\n");
    }

    #[test]
    fn a_line_without_end_does_not_fill_memory() {
        let output = Output::memory();
        let mut line = output.line();
        for _ in 0..100 {
            line.push(&[b'x'; 1024]);
        }
        assert!(output.kept().len() >= 64 << 10);
    }
}
