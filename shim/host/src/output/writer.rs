//! How bytes reach a descriptor. Several processes may write to it: each line stays whole
//! between theirs, and nobody holds the turn at writing while it waits for a reader.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

/// Written at once: what a pipe holds, in parts, so that a slow reader is told from
/// one that does not read.
const AT_ONCE: usize = 16 << 10;

/// What a pipe takes at once and whole.
const WHOLE: usize = 4 << 10;

/// How soon a turn is asked for again; a line takes less to write.
const AGAIN: Duration = Duration::from_millis(1);

/// How soon it is looked for room in a pipe again that somebody reads…
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);
/// …and in one that nobody reads.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// An open file.
#[derive(Debug)]
pub(super) enum Descriptor {
    /// Closed with the last who prints to it.
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

/// Writes to one descriptor, for one thread at a time.
#[derive(Debug)]
pub(super) struct Writer {
    descriptor: Descriptor,
    is_pipe: bool,
    /// Who holds its lock has the turn at writing; nothing where this process is alone.
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

    /// From now on processes that are forked take turns.
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

    /// Writes a line or two where that cannot wait for a reader: into a pipe that is empty,
    /// while no other process that shares it writes. False where it was not done.
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

    /// Writes all of it, waiting for a reader that is slow as any program does. `moved` is
    /// called whenever the reader has made room for a part of it.
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

    /// What is written whole: as many lines as are few bytes together, or one long line. One
    /// that is longer than the pipe is written in parts.
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

    /// Writes a part as soon as there is room for all of it. The turn is taken only to
    /// look and to write.
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
            // A pipe is ready from its first free page on, which is too little.
            let now = self.held().ok();
            pause = match now == held {
                true => (pause * 2).min(LONGEST_PAUSE),
                false => SHORTEST_PAUSE,
            };
            held = now;
            sleep(pause);
        }
    }

    /// Waits until the descriptor takes something. True where it takes nothing any more, as
    /// nobody is left to read it.
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

    /// Whether so many bytes can be written without waiting. A file has room, and so have
    /// sockets and terminals that are ready.
    fn has_room(&self, bytes: usize) -> Result<bool, Errno> {
        if !self.is_pipe {
            return Ok(true);
        }
        let size = rustix::pipe::fcntl_getpipe_size(&self.descriptor)?;
        Ok(match self.held()? {
            0 => bytes <= size,
            // What does not fit into the last page begins another. So each two neighbours
            // hold more than a page, but for the first, which is read in parts.
            held => {
                let page = rustix::param::page_size();
                2 * held / page + 2 + bytes.div_ceil(page) <= size / page
            }
        })
    }

    /// Bytes that wait for the reader of a pipe.
    fn held(&self) -> Result<usize, Errno> {
        let held = rustix::io::ioctl_fionread(&self.descriptor)?;
        Ok(usize::try_from(held).unwrap_or(usize::MAX / 4))
    }
}

/// The turn at writing, until it is dropped: a record lock (`fcntl`), which unlike `flock`
/// keeps apart processes that inherited one open file.
pub(super) struct Turn<'a>(&'a File);

impl<'a> Turn<'a> {
    /// None where another process has it, or the kernel does not say.
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
                // The kernel takes a process for one thread: where each of two writes to one
                // stream and waits for the other, it sees them wait for each other.
                Err(Errno::DEADLK) => sleep(AGAIN),
                Err(error) => {
                    // A long line may be torn, which is better than lost.
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
    /// Whether nobody has the turn now.
    pub(super) fn turn_is_free(&self) -> bool {
        self.turn
            .get()
            .is_none_or(|turn| Turn::try_take(turn).is_some())
    }
}
