//! What waits to be written: a bounded queue for each descriptor, and a thread behind
//! it that may wait for a reader, so that nobody who serves ever does. Who prints little
//! to a pipe that is read needs neither.

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

/// Seconds of output at the rate that containerd reads; little for a pod that takes
/// requests of its own.
const MOST_BYTES: usize = 1 << 20;

/// No more than this is ever held: what guests were told that they may write, and write
/// when others have filled the queue meanwhile, and what those write who do not ask.
const ALL_BYTES: usize = 4 * MOST_BYTES;

/// Room that is kept for our own log, so that a guest which prints without end does
/// not hide what is said about it.
const LOG_BYTES: usize = 64 << 10;

/// What a queued piece costs besides its bytes.
const PIECE: usize = 64;

/// How long whoever prints waits for a reader that reads nothing at all. containerd's
/// own pauses are shorter, and a client is seldom patient for longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The writing thread goes no deeper.
const STACK: usize = 128 << 10;

/// What waits to be written to one descriptor.
#[derive(Debug)]
pub(super) struct Queue {
    writer: Writer,
    /// Whether there is a queue. A process that is still to be forked has no threads.
    queues: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    room: Notify,
}

#[derive(Debug)]
struct State {
    pieces: VecDeque<Box<[u8]>>,
    /// Bytes of all pieces and of the one that is being written, with what they cost.
    bytes: usize,
    /// Whether the thread is there.
    writes: bool,
    /// When something was last written, or began to wait for it.
    moved: Instant,
    dropped: Dropped,
    /// Why a write has failed. What was written then is lost.
    failed: Option<Errno>,
}

/// What found no room.
#[derive(Debug, Default, Clone, Copy)]
struct Dropped {
    lines: u64,
    bytes: u64,
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

    /// From now on processes that are forked wait for each other's lines.
    pub(super) fn share(&self) -> io::Result<()> {
        self.writer.share()
    }

    /// From now on nobody who prints waits for a reader.
    pub(super) fn start_queueing(&self) {
        self.queues.store(true, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.writer.is_terminal()
    }

    /// Takes what a guest prints. It is kept together, and dropped where there is no
    /// room.
    pub(super) fn print(self: &Arc<Self>, bytes: &[u8]) {
        self.take(bytes, false);
    }

    /// Takes a line of our own log.
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
            // Somebody reads: there is room soon, and whoever prints had asked for it.
            ALL_BYTES
        } else {
            MOST_BYTES
        };
        if !state.writes && self.writer.write_at_once(bytes) {
            return;
        }
        // Checked before, not after: what is larger than all room passes an empty queue.
        if state.bytes >= most || !self.start(&mut state) {
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            state.dropped.lines += lines.max(1) as u64;
            state.dropped.bytes += bytes.len() as u64;
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

    /// Whether there is a thread that writes, now.
    fn start(self: &Arc<Self>, state: &mut State) -> bool {
        if !state.writes {
            let queue = Arc::clone(self);
            let thread = thread::Builder::new().name("output".to_owned());
            let thread = thread.stack_size(STACK).spawn(move || queue.drain());
            // Where the pod may have no more threads, the next line tries again.
            state.writes = thread.is_ok();
        }
        state.writes
    }

    /// Whether there is room, or whoever prints has waited for it in vain and had
    /// better go on.
    pub(super) fn is_open(&self, patient: bool) -> bool {
        let state = self.lock();
        let gave_up = !patient && state.moved.elapsed() >= PATIENCE;
        state.bytes < MOST_BYTES || gave_up
    }

    /// Why what was printed could not be written; nothing where it was, or waits for it.
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
            // Where nothing moves, it has to be looked at the clock again.
            tokio::time::timeout(PATIENCE / 4, room).await.ok();
        }
    }

    /// Waits until all is written.
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

    /// Waits until all is written, but not beyond `end`.
    pub(super) fn flush_until(&self, end: Instant) {
        let mut state = self.lock();
        while state.bytes > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// The thread's life.
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
                if dropped.lines > 0 && written.is_ok() {
                    tracing::warn!(
                        lines = dropped.lines,
                        bytes = dropped.bytes,
                        "Output was dropped, as nobody has read it"
                    );
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
