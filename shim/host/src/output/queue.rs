//! Output that waits to be written: a bounded queue for each descriptor, and a thread
//! behind it that waits for the reader, so that serving threads never do. Small amounts to
//! a pipe that is being read need neither.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::Notify;

use super::writer::{Descriptor, Writer};

/// Seconds of output at the rate at which containerd reads; little compared with a pod's
/// memory.
const MOST_BYTES: usize = 1 << 20;

/// The hard limit of the queue: guests may still write what they were allowed to after
/// others have filled the queue, and some writers do not ask.
const ALL_BYTES: usize = 4 * MOST_BYTES;

/// Room reserved for Skiff's own log, so that a guest that prints endlessly does not
/// suppress log lines about it.
const LOG_BYTES: usize = 64 << 10;

/// The overhead of a queued piece.
const PIECE: usize = 64;

/// How long printing waits for a reader that reads nothing at all. containerd's own pauses
/// are shorter, and clients rarely wait longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The stack size of the writing thread.
const STACK: usize = 128 << 10;

/// Output that waits to be written to one descriptor.
#[derive(Debug)]
pub(super) struct Queue {
    writer: Writer,
    /// Whether the queue is used. A process that is still to be forked has no threads.
    queues: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    room: Notify,
}

#[derive(Debug)]
struct State {
    pieces: VecDeque<Box<[u8]>>,
    /// Bytes of all pieces and of the one being written, with their overhead.
    bytes: usize,
    /// Whether the thread is running.
    writes: bool,
    /// When something was last written, or began to wait.
    moved: Instant,
    dropped: Dropped,
    /// Why a write failed. Its data is lost.
    failed: Option<Errno>,
}

/// Output that was dropped for lack of room.
#[derive(Debug, Default, Clone, Copy)]
struct Dropped {
    lines: u64,
    bytes: u64,
}

impl Dropped {
    /// A long line comes in several pieces, and counts with its end.
    fn add(&mut self, bytes: &[u8]) {
        let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
        self.lines += lines as u64;
        self.bytes += bytes.len() as u64;
    }

    fn report(self) {
        if self.bytes > 0 {
            tracing::warn!(
                lines = self.lines,
                bytes = self.bytes,
                "Output was dropped because its reader was too slow"
            );
        }
    }
}

impl Queue {
    pub(super) fn new(descriptor: Descriptor) -> Self {
        Queue {
            writer: Writer::new(descriptor),
            queues: AtomicBool::new(false),
            state: Mutex::new(State {
                pieces: VecDeque::new(),
                bytes: 0,
                writes: false,
                moved: Instant::now(),
                dropped: Dropped::default(),
                failed: None,
            }),
            changed: Condvar::new(),
            room: Notify::new(),
        }
    }

    /// From now on forked processes write their lines one at a time.
    pub(super) fn share(&self) -> io::Result<()> {
        self.writer.share()
    }

    /// From now on printing does not wait for a reader.
    pub(super) fn start_queueing(&self) {
        self.queues.store(true, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.writer.is_terminal()
    }

    /// Takes a guest's output. It is kept together, and dropped if there is no room.
    pub(super) fn print(self: &Arc<Self>, bytes: &[u8]) {
        self.take(bytes, false);
    }

    /// Takes a line of Skiff's own log.
    pub(super) fn log(self: &Arc<Self>, bytes: &[u8]) {
        self.take(bytes, true);
    }

    fn take(self: &Arc<Self>, bytes: &[u8], is_ours: bool) {
        if self.queues.load(Relaxed) {
            self.push(bytes, is_ours);
        } else if let Err(error) = self.writer.write(bytes, || ()) {
            self.lock().failed.get_or_insert(error);
        }
    }

    fn push(self: &Arc<Self>, bytes: &[u8], is_ours: bool) {
        let mut state = self.lock();
        let most = if is_ours {
            ALL_BYTES + LOG_BYTES
        } else if state.moved.elapsed() < PATIENCE {
            // The reader is active: there is room soon, and the guest had asked for it.
            ALL_BYTES
        } else {
            MOST_BYTES
        };
        if !state.writes && self.writer.write_at_once(bytes) {
            return;
        }
        // Checked before, not after: data larger than the whole queue passes an empty one.
        if state.bytes >= most || !self.start(&mut state) {
            state.dropped.add(bytes);
            return;
        }
        if state.bytes == 0 {
            state.moved = Instant::now();
        }
        state.bytes += bytes.len() + PIECE;
        state.pieces.push_back(bytes.into());
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the writing thread exists; tries to start it.
    fn start(self: &Arc<Self>, state: &mut State) -> bool {
        if !state.writes {
            let queue = Arc::clone(self);
            let thread = thread::Builder::new().name("output".to_owned());
            let thread = thread.stack_size(STACK).spawn(move || queue.drain());
            // If the pod may have no more threads, the next line tries again.
            state.writes = thread.is_ok();
        }
        state.writes
    }

    /// Whether there is room, or printing has waited too long and should continue without.
    pub(super) fn is_open(&self, patient: bool) -> bool {
        let state = self.lock();
        let gave_up = !patient && state.moved.elapsed() >= PATIENCE;
        state.bytes < MOST_BYTES || gave_up
    }

    /// Why output could not be written; `None` if it was, or still waits.
    pub(super) fn failed(&self) -> Option<Errno> {
        self.lock().failed
    }

    /// Waits for [`Queue::is_open`].
    pub(super) async fn opens(&self, patient: bool) {
        loop {
            let room = self.room.notified();
            if self.is_open(patient) {
                return;
            }
            // If the reader makes no progress, the time limit has to be checked again.
            tokio::time::timeout(PATIENCE / 4, room).await.ok();
        }
    }

    /// Waits until everything is written.
    pub(super) async fn flushed(&self) {
        loop {
            let room = self.room.notified();
            if self.lock().bytes == 0 {
                return;
            }
            room.await;
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().bytes == 0
    }

    /// Waits until everything is written, at most until `end`, and reports what is lost.
    pub(super) fn flush_until(&self, end: Instant) {
        let mut state = self.lock();
        while state.bytes > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
        let mut dropped = std::mem::take(&mut state.dropped);
        state.pieces.iter().for_each(|piece| dropped.add(piece));
        drop(state);
        dropped.report();
    }

    /// The thread's main loop.
    fn drain(&self) {
        let mut state = self.lock();
        loop {
            while let Some(piece) = state.pieces.pop_front() {
                drop(state);
                let moved = || self.lock().moved = Instant::now();
                let written = self.writer.write(&piece, moved);
                state = self.lock();
                state.failed = state.failed.or(written.err());
                state.bytes -= piece.len() + PIECE;
                state.moved = Instant::now();
                let dropped = std::mem::take(&mut state.dropped);
                drop(state);
                self.room.notify_waiters();
                self.changed.notify_all();
                if written.is_ok() {
                    dropped.report();
                }
                state = self.lock();
            }
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }

    #[cfg(test)]
    pub(super) fn turn_is_free(&self) -> bool {
        self.writer.turn_is_free()
    }
}
