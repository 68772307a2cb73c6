//! What guests print, and Skiff's own log between it. A command's bytes are passed on
//! unchanged and at once. Output of many guests is passed on line by line, so that lines
//! are never torn. Serving threads never wait for a reader: output is queued.

mod queue;
mod writer;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

use queue::Queue;
use writer::Descriptor;

/// Longer lines are passed on in pieces, so that a guest that never ends its line cannot
/// fill our memory. containerd itself splits lines at 16 KiB.
const LONGEST_LINE: usize = 64 << 10;

/// Where a guest's stream goes.
#[derive(Debug, Clone)]
pub struct Output {
    sink: Sink,
    in_lines: bool,
}

#[derive(Debug, Clone)]
enum Sink {
    Queue(Arc<Queue>),
    Memory(Arc<Memory>),
    Nowhere,
}

/// What was printed, up to a limit.
#[derive(Debug)]
struct Memory {
    /// `None` once it was more than the limit.
    kept: Mutex<Option<Vec<u8>>>,
    most: usize,
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        if let Some(all) = &mut *kept {
            if all.len() + bytes.len() > self.most {
                *kept = None;
            } else {
                all.extend_from_slice(bytes);
            }
        }
    }
}

impl Output {
    fn new(sink: Sink) -> Self {
        Output {
            sink,
            in_lines: false,
        }
    }

    /// Writes to an open file, byte for byte; it is closed when the last clone is dropped.
    pub fn to(file: OwnedFd) -> Self {
        Output::new(Sink::Queue(Arc::new(Queue::new(Descriptor::Own(file)))))
    }

    /// Writes to a file that stays open for the life of the process. Everything that prints
    /// to one file must use one output, or clones of it.
    pub fn to_standard(file: BorrowedFd<'static>) -> Self {
        let queue = Queue::new(Descriptor::OfProcess(file));
        Output::new(Sink::Queue(Arc::new(queue)))
    }

    /// Keeps what is printed, for tests.
    pub fn memory() -> Self {
        Output::up_to(usize::MAX)
    }

    /// Keeps what is printed, unless it is more than so many bytes.
    pub(crate) fn up_to(most: usize) -> Self {
        let kept = Mutex::new(Some(Vec::new()));
        Output::new(Sink::Memory(Arc::new(Memory { kept, most })))
    }

    /// Discards what is printed.
    pub fn nowhere() -> Self {
        Output::new(Sink::Nowhere)
    }

    /// The same output for many guests at once: each line is passed on whole, and an
    /// unfinished last line is ended. A guest that waits too long for a reader continues
    /// without.
    #[must_use]
    pub fn in_lines(self) -> Self {
        Output {
            in_lines: true,
            ..self
        }
    }

    /// What [`memory`](Self::memory) has kept so far.
    pub fn kept(&self) -> Vec<u8> {
        match &self.sink {
            Sink::Memory(memory) => memory.kept().clone().unwrap_or_default(),
            Sink::Queue(_) | Sink::Nowhere => Vec::new(),
        }
    }

    /// Takes what was kept; `None` if it was more than the limit.
    pub(crate) fn take(&self) -> Option<Bytes> {
        match &self.sink {
            Sink::Memory(memory) => memory.kept().take().map(Bytes::from),
            Sink::Queue(_) | Sink::Nowhere => None,
        }
    }

    /// How many bytes are kept.
    pub(crate) fn size(&self) -> usize {
        match &self.sink {
            Sink::Memory(memory) => memory.kept().as_ref().map_or(0, Vec::len),
            Sink::Queue(_) | Sink::Nowhere => 0,
        }
    }

    /// To be called before the process forks into several that print to it: from then on
    /// their lines are written one at a time.
    ///
    /// # Errors
    /// If the kernel provides no file for the lock.
    pub fn share(&self) -> io::Result<()> {
        match &self.sink {
            Sink::Queue(queue) => queue.share(),
            Sink::Memory(_) | Sink::Nowhere => Ok(()),
        }
    }

    /// From now on a separate thread waits for a slow reader, so printing does not. It is
    /// started by the first line that has to wait. To be called when the process will not
    /// fork any more; until then only one thread may print.
    pub fn start_queueing(&self) {
        if let Sink::Queue(queue) = &self.sink {
            queue.start_queueing();
        }
    }

    /// Waits until everything printed is written, at most until `end`.
    pub fn flush_until(&self, end: Instant) {
        if let Sink::Queue(queue) = &self.sink {
            queue.flush_until(end);
        }
    }

    /// Waits until everything printed so far is written.
    pub async fn flushed(&self) {
        if let Sink::Queue(queue) = &self.sink {
            queue.flushed().await;
        }
    }

    /// Why some output could not be written.
    pub fn failure(&self) -> Option<io::Error> {
        match &self.sink {
            Sink::Queue(queue) => queue.failed().map(Into::into),
            Sink::Memory(_) | Sink::Nowhere => None,
        }
    }

    fn pass_on(&self, bytes: &[u8]) {
        match &self.sink {
            Sink::Nowhere => {}
            Sink::Memory(memory) => memory.push(bytes),
            Sink::Queue(queue) => queue.print(bytes),
        }
    }

    fn stream(&self) -> Stream {
        Stream {
            output: self.clone(),
            held: Vec::new(),
            opens: None,
        }
    }
}

/// One stream of one instance, with the line it has begun.
struct Stream {
    output: Output,
    held: Vec<u8>,
    /// Waits for room.
    opens: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Stream {
    fn push(&mut self, bytes: &[u8]) {
        if !self.output.in_lines {
            return self.output.pass_on(bytes);
        }
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

    /// Whether it may be written to now. A command waits forever for its reader.
    fn is_open(&self) -> bool {
        match &self.output.sink {
            Sink::Queue(queue) => queue.is_open(!self.output.in_lines),
            Sink::Memory(_) | Sink::Nowhere => true,
        }
    }

    /// Whether a command's output can no longer be read; with many guests, a reader may
    /// come back.
    fn is_closed(&self) -> bool {
        match &self.output.sink {
            Sink::Queue(queue) => !self.output.in_lines && queue.failed().is_some(),
            Sink::Memory(_) | Sink::Nowhere => false,
        }
    }

    fn poll_opens(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Sink::Queue(queue) = &self.output.sink else {
            return Poll::Ready(());
        };
        if self.opens.is_none() && self.is_open() {
            return Poll::Ready(());
        }
        let (queue, patient) = (Arc::clone(queue), !self.output.in_lines);
        let opens = self
            .opens
            .get_or_insert_with(|| Box::pin(async move { queue.opens(patient).await }));
        std::task::ready!(opens.as_mut().poll(cx));
        self.opens = None;
        Poll::Ready(())
    }
}

impl Drop for Stream {
    /// An unfinished line becomes a line of its own.
    fn drop(&mut self) {
        if !self.held.is_empty() {
            self.held.push(b'\n');
            self.output.pass_on(&self.held);
        }
    }
}

/// How Skiff's own log is written: each write is kept together.
impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.sink {
            Sink::Queue(queue) => queue.log(bytes),
            Sink::Memory(_) | Sink::Nowhere => self.pass_on(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        match &self.sink {
            Sink::Queue(queue) => queue.is_terminal(),
            Sink::Memory(_) | Sink::Nowhere => false,
        }
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.stream())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.stream())
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        std::task::ready!(self.poll_opens(cx));
        let bytes = &bytes[..bytes.len().min(LONGEST_LINE)];
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

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        if self.is_closed() {
            return Err(StreamError::Closed);
        }
        Ok(if self.is_open() { LONGEST_LINE } else { 0 })
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll_opens(cx)).await;
    }
}

#[cfg(test)]
mod tests;
