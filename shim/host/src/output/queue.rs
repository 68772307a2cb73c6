//! What waits to be written: a bounded queue for each descriptor, and a thread behind
//! it that may wait for a reader, so that nobody who serves ever does. Who prints little
//! to a pipe that is read needs neither.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;
use tokio::sync::Notify;

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

/// Written at once: what a pipe holds, in parts, so that a slow reader is told from
/// one that does not read.
const AT_ONCE: usize = 16 << 10;

/// What a pipe takes at once and whole.
const WHOLE: usize = 4 << 10;

/// How soon a lock is asked for again; a line takes less to write.
const AGAIN: Duration = Duration::from_millis(1);

/// The writing thread goes no deeper.
const STACK: usize = 128 << 10;

/// Held for each write where other processes write to the same pipes: one for standard
/// output, one for standard error.
static SHARED: OnceLock<[File; 2]> = OnceLock::new();

/// Whether output is queued. A process that is still to be forked has no threads.
static QUEUES: AtomicBool = AtomicBool::new(false);

static STDOUT: LazyLock<Arc<Queue>> = LazyLock::new(|| Arc::new(Queue::new(libc_fd::STDOUT)));

/// The same where both are one file, so that what is printed stays in its order.
static STDERR: LazyLock<Arc<Queue>> = LazyLock::new(|| {
    if is_one_file(libc_fd::STDOUT, libc_fd::STDERR) {
        Arc::clone(&STDOUT)
    } else {
        Arc::new(Queue::new(libc_fd::STDERR))
    }
});

mod libc_fd {
    pub(super) const STDOUT: super::RawFd = 1;
    pub(super) const STDERR: super::RawFd = 2;
}

/// To be called before the process is forked into several that print: from then on
/// they wait for each other's lines.
///
/// # Errors
/// Where the kernel gives no files for the locks.
pub fn share_output() -> io::Result<()> {
    let lock = || rustix::fs::memfd_create(c"output", rustix::fs::MemfdFlags::CLOEXEC);
    let locks = [lock()?.into(), lock()?.into()];
    SHARED.get_or_init(|| locks);
    Ok(())
}

/// From now on nobody who prints waits for a reader: a thread of its own does, from
/// the first line on. To be called when the process forks no more.
pub fn queue_output() {
    QUEUES.store(true, Relaxed);
}

/// Waits until all that was printed is written, for no longer than `limit`.
pub fn flush_output(limit: Duration) {
    let end = Instant::now() + limit;
    for queue in [&*STDOUT, &*STDERR] {
        queue.flush_until(end);
    }
}

/// The queue of our standard output.
pub(super) fn stdout() -> Arc<Queue> {
    Arc::clone(&STDOUT)
}

/// The queue of our standard error.
pub(super) fn stderr() -> Arc<Queue> {
    Arc::clone(&STDERR)
}

fn is_one_file(one: RawFd, other: RawFd) -> bool {
    // SAFETY: descriptors 1 and 2 stay open for the life of the process.
    let stat = |fd| unsafe { rustix::fs::fstat(BorrowedFd::borrow_raw(fd)) };
    match (stat(one), stat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// What waits to be written to one descriptor, which stays open as long as it lives.
#[derive(Debug)]
pub(super) struct Queue {
    fd: RawFd,
    is_pipe: bool,
    state: Mutex<State>,
    changed: Condvar,
    room: Notify,
    /// Held for each write, as pipes tear what is longer than a page.
    writing: Mutex<()>,
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
    pub(super) fn new(fd: RawFd) -> Self {
        // SAFETY: whoever makes the queue keeps the descriptor open.
        let stat = unsafe { rustix::fs::fstat(BorrowedFd::borrow_raw(fd)) };
        let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
        Queue {
            fd,
            is_pipe: kind == Ok(FileType::Fifo),
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
            writing: Mutex::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn is_terminal(&self) -> bool {
        rustix::termios::isatty(self.descriptor())
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: whoever made the queue keeps the descriptor open.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
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
        if QUEUES.load(Relaxed) {
            self.push(bytes, is_ours);
        } else if let Err(error) = self.write(bytes) {
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
        if !state.writes && self.write_at_once(bytes) {
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

    /// Writes a line or two where that cannot wait for a reader: into a pipe that is empty,
    /// while nobody else who shares it writes. Told is whether that was done.
    fn write_at_once(&self, bytes: &[u8]) -> bool {
        let fd = self.descriptor();
        if bytes.len() > WHOLE || !self.is_pipe {
            return false;
        }
        let Ok(_threads) = self.writing.try_lock() else {
            return false;
        };
        let _processes = match self.shared().map(RecordLock::try_take) {
            Some(None) => return false,
            Some(Some(lock)) => Some(lock),
            None => None,
        };
        matches!(rustix::io::ioctl_fionread(fd), Ok(0))
            && rustix::io::write(fd, bytes) == Ok(bytes.len())
    }

    /// What processes that print to the same wait for.
    fn shared(&self) -> Option<&'static File> {
        SHARED.get().map(|[stdout, stderr]| match self.fd {
            libc_fd::STDERR => stderr,
            _ => stdout,
        })
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

    fn flush_until(&self, end: Instant) {
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
                let written = self.write(&piece);
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

    /// Writes all of it, waiting for a reader that is slow as any program does.
    fn write(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        let threads = self.writing.lock().unwrap_or_else(|e| e.into_inner());
        let processes = self.shared().map(RecordLock::take);
        let fd = self.descriptor();
        let mut result = Ok(());
        while !bytes.is_empty() {
            match rustix::io::write(fd, &bytes[..bytes.len().min(AT_ONCE)]) {
                Ok(0) => break,
                Ok(written) => {
                    bytes = &bytes[written..];
                    if !bytes.is_empty() && QUEUES.load(Relaxed) {
                        self.lock().moved = Instant::now();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut poll = [rustix::event::PollFd::from_borrowed_fd(
                        fd,
                        rustix::event::PollFlags::OUT,
                    )];
                    if rustix::event::poll(&mut poll, None).is_err() {
                        break;
                    }
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        drop((processes, threads));
        result
    }
}

/// A record lock (`fcntl`): unlike `flock` it keeps apart processes that
/// inherited one open file.
struct RecordLock<'a>(&'a File);

impl<'a> RecordLock<'a> {
    /// None where another process has it, or the kernel does not say.
    fn try_take(file: &'a File) -> Option<Self> {
        let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::fcntl_lock(file, lock).ok()?;
        Some(RecordLock(file))
    }

    fn take(file: &'a File) -> Self {
        loop {
            match rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                // The kernel takes a process for one thread: where each of two writes to one
                // stream and waits for the other, it sees them wait for each other.
                Err(Errno::DEADLK) => thread::sleep(AGAIN),
                Err(error) => {
                    // A long line may be torn, which is better than lost.
                    tracing::debug!(%error, "Cannot lock the output");
                    break;
                }
            }
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
