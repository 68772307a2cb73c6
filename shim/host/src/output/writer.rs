//! How bytes reach a descriptor. Several processes may write to it: each line stays whole,
//! and no process holds the lock while it waits for a reader.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

/// How much is written at once: a pipe's capacity, in parts, so that a slow reader is
/// distinguished from one that does not read.
const AT_ONCE: usize = 16 << 10;

/// What a pipe accepts atomically.
const WHOLE: usize = 4 << 10;

/// How soon the lock is tried again; writing a line takes less.
const AGAIN: Duration = Duration::from_millis(1);

/// How soon a pipe is checked for room again if it is being read…
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);
/// …and if it is not.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// An open file.
#[derive(Debug)]
pub(super) enum Descriptor {
    /// Closed when the last clone is dropped.
    Own(OwnedFd),
    /// Open for the life of the process.
    OfProcess(BorrowedFd<'static>),
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Descriptor::Own(own) => own.as_fd(),
            Descriptor::OfProcess(fd) => *fd,
        }
    }
}

/// Writes to one descriptor, from one thread at a time.
#[derive(Debug)]
pub(super) struct Writer {
    descriptor: Descriptor,
    is_pipe: bool,
    /// The lock file that processes share; `None` if this process is the only one.
    turn: OnceLock<File>,
}

impl Writer {
    pub(super) fn new(descriptor: Descriptor) -> Self {
        let stat = rustix::fs::fstat(&descriptor);
        let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
        Writer {
            is_pipe: kind == Ok(FileType::Fifo),
            descriptor,
            turn: OnceLock::new(),
        }
    }

    /// From now on forked processes take turns.
    pub(super) fn share(&self) -> io::Result<()> {
        if self.turn.get().is_none() {
            let lock = rustix::fs::memfd_create(c"output", rustix::fs::MemfdFlags::CLOEXEC)?;
            self.turn.get_or_init(|| lock.into());
        }
        Ok(())
    }

    pub(super) fn is_terminal(&self) -> bool {
        rustix::termios::isatty(&self.descriptor)
    }

    /// Writes a line or two if that cannot block: into an empty pipe, while no other
    /// process that shares it writes. Returns `false` if it was not done.
    pub(super) fn write_at_once(&self, bytes: &[u8]) -> bool {
        if bytes.len() > WHOLE || !self.is_pipe {
            return false;
        }
        let _turn = match self.turn.get().map(Turn::try_take) {
            Some(None) => return false,
            Some(turn) => turn,
            None => None,
        };
        matches!(self.held(), Ok(0))
            && rustix::io::write(&self.descriptor, bytes) == Ok(bytes.len())
    }

    /// Writes all of it, waiting for a slow reader as any program does. `moved` is called
    /// whenever the reader has made room for a part.
    pub(super) fn write(&self, mut bytes: &[u8], moved: impl Fn()) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let written = match self.turn.get() {
                None => {
                    let part = &bytes[..bytes.len().min(AT_ONCE)];
                    rustix::io::write(&self.descriptor, part)
                }
                Some(turn) => self.write_in_turn(self.part(bytes), turn),
            };
            match written {
                Ok(0) => break,
                Ok(written) => {
                    bytes = &bytes[written..];
                    if !bytes.is_empty() {
                        moved();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => drop(self.wait()?),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The part that is written atomically: as many lines as fit, or one long line. A line
    /// longer than the pipe is written in parts.
    fn part<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let most = match self.is_pipe {
            true => rustix::pipe::fcntl_getpipe_size(&self.descriptor).unwrap_or(WHOLE),
            false => usize::MAX,
        };
        let few = &bytes[..bytes.len().min(AT_ONCE).min(most)];
        let is_end = |byte: &u8| *byte == b'\n';
        match few.iter().rposition(is_end) {
            _ if few.len() == bytes.len() => few,
            Some(end) => &few[..=end],
            None => {
                let line = bytes.iter().position(is_end);
                let line = line.map_or(bytes.len(), |end| end + 1);
                &bytes[..line.min(most)]
            }
        }
    }

    /// Writes a part as soon as there is room for all of it. The lock is only held to check
    /// and to write.
    fn write_in_turn(&self, part: &[u8], turn: &File) -> Result<usize, Errno> {
        let (mut held, mut pause) = (None, SHORTEST_PAUSE);
        loop {
            let has_no_reader = self.wait()?;
            {
                let _turn = Turn::take(turn);
                if has_no_reader || self.has_room(part.len())? {
                    return rustix::io::write(&self.descriptor, part);
                }
            }
            // A pipe polls as ready from its first free page on, which may be too little.
            let now = self.held().ok();
            pause = match now == held {
                true => (pause * 2).min(LONGEST_PAUSE),
                false => SHORTEST_PAUSE,
            };
            held = now;
            sleep(pause);
        }
    }

    /// Waits until the descriptor is writable. Returns `true` if it never will be again, as
    /// its reader is gone.
    fn wait(&self) -> Result<bool, Errno> {
        let mut polled = [PollFd::new(&self.descriptor, PollFlags::OUT)];
        loop {
            match poll(&mut polled, None) {
                Ok(_) => return Ok(polled[0].revents().contains(PollFlags::ERR)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether this many bytes can be written without blocking. A file always has room, and
    /// so have sockets and terminals that are ready.
    fn has_room(&self, bytes: usize) -> Result<bool, Errno> {
        if !self.is_pipe {
            return Ok(true);
        }
        let size = rustix::pipe::fcntl_getpipe_size(&self.descriptor)?;
        Ok(match self.held()? {
            0 => bytes <= size,
            // Data that does not fit into the last page starts another. So any two
            // neighbouring pages hold more than one page of data, except at the first,
            // which may be partly read.
            held => {
                let page = rustix::param::page_size();
                2 * held / page + 2 + bytes.div_ceil(page) <= size / page
            }
        })
    }

    /// Bytes in a pipe that are not read yet.
    fn held(&self) -> Result<usize, Errno> {
        let held = rustix::io::ioctl_fionread(&self.descriptor)?;
        Ok(usize::try_from(held).unwrap_or(usize::MAX / 4))
    }
}

/// The lock for writing, held until it is dropped: a record lock (`fcntl`), which unlike
/// `flock` also separates processes that inherited the same open file.
pub(super) struct Turn<'a>(&'a File);

impl<'a> Turn<'a> {
    /// `None` if another process has it, or the kernel returns an error.
    fn try_take(file: &'a File) -> Option<Self> {
        let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::fcntl_lock(file, lock).ok()?;
        Some(Turn(file))
    }

    fn take(file: &'a File) -> Self {
        loop {
            match rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                // The kernel treats a process as one thread: if two processes each write to
                // one stream and wait for the other, it reports a deadlock.
                Err(Errno::DEADLK) => sleep(AGAIN),
                Err(error) => {
                    // A torn long line is better than a lost one.
                    tracing::debug!(%error, "Cannot lock the output");
                    break;
                }
            }
        }
        Turn(file)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::fcntl_lock(self.0, rustix::fs::FlockOperation::Unlock) {
            tracing::debug!(%error, "Cannot unlock the output");
        }
    }
}

#[cfg(test)]
impl Writer {
    /// Whether the lock is free now.
    pub(super) fn turn_is_free(&self) -> bool {
        self.turn
            .get()
            .is_none_or(|turn| Turn::try_take(turn).is_some())
    }
}
