//! Turns at what takes much memory: so many at once on a machine, whichever processes
//! they are. A turn ends with its process, however that ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How often it is looked whether a turn is free. Nobody can wait for several at a time.
const LOOK: Duration = Duration::from_millis(50);

/// A number of turns, each the lock of a file.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    folder: PathBuf,
    name: &'static str,
    count: usize,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _lock: File,
}

impl Slots {
    /// `count` turns at what `name` says; the files are in `folder`.
    pub(crate) fn new(folder: &Path, name: &'static str, count: usize) -> Self {
        Slots {
            folder: folder.to_owned(),
            name,
            count: count.max(1),
        }
    }

    /// A turn that is free.
    ///
    /// # Errors
    /// Where the files cannot be made.
    pub(crate) fn try_take(&self) -> io::Result<Option<Slot>> {
        for number in 0..self.count {
            let path = self.folder.join(format!("{}-{number}.slot", self.name));
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Slot { _lock: lock })),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Waits for a turn, but no longer than `patience`.
    ///
    /// # Errors
    /// Where the files cannot be made.
    pub(crate) fn take(&self, patience: Duration) -> io::Result<Option<Slot>> {
        let until = Instant::now() + patience;
        loop {
            if let Some(slot) = self.try_take()? {
                return Ok(Some(slot));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            sleep(LOOK);
        }
    }
}

/// Has the kernel end this process before others where memory runs out: what it does
/// can be done again. Whoever starts it may be protected, and would hand that down.
///
/// # Errors
/// Where the kernel does not let itself be told.
pub(crate) fn ends_first() -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", "1000")
}

/// What processes that take much memory may take, each and together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Bytes of one process.
    pub(crate) memory: u64,
    /// Processes at once.
    pub(crate) count: usize,
}

impl Share {
    /// Memory a process may write to at most. Compiling 12 MB of JavaScript takes some
    /// 700 MB on two cores; a component that needs more than this would rather take the
    /// node's other pods down.
    const MOST: u64 = 4 << 30;

    /// One of so many parts of the machine's memory, however many ask.
    pub(crate) fn of_this_machine(parts: u64) -> Self {
        // SAFETY: the structure is plain data, for which all zeroes is valid, and the call
        // fills it.
        let machine = unsafe {
            let mut machine: libc::sysinfo = std::mem::zeroed();
            libc::sysinfo(&raw mut machine);
            machine
        };
        let memory = machine.totalram.saturating_mul(machine.mem_unit.into());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(memory / parts, processors)
    }

    fn of(memory: u64, processors: usize) -> Self {
        let one = memory.min(Self::MOST);
        let fit = usize::try_from(memory / one.max(1)).unwrap_or(usize::MAX);
        Share {
            memory: one,
            count: fit.clamp(1, processors.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_turns_as_were_said_and_each_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::new(folder.path(), "prepare", 2);
        let first = slots.try_take().unwrap().unwrap();
        let _second = slots.try_take().unwrap().unwrap();
        assert!(slots.try_take().unwrap().is_none());
        assert!(slots.take(Duration::from_millis(1)).unwrap().is_none());
        // Others have their own.
        let others = Slots::new(folder.path(), "optimize", 1);
        let _other = others.try_take().unwrap().unwrap();
        drop(first);
        // Another test's process may have been forked with the lock, and end in a moment.
        let again = slots.take(Duration::from_secs(60));
        assert!(again.unwrap().is_some());
    }

    #[test]
    fn who_waits_gets_the_turn_that_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::new(folder.path(), "prepare", 1);
        let first = slots.try_take().unwrap().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| slots.take(Duration::from_secs(60)).unwrap());
            drop(first);
            assert!(waits.join().unwrap().is_some());
        });
    }

    #[test]
    fn a_turn_that_cannot_be_had_is_an_error() {
        let slots = Slots::new(Path::new("/does/not/exist"), "prepare", 1);
        assert!(slots.try_take().is_err());
    }

    #[test]
    fn all_together_take_no_more_than_their_part() {
        let share = |gib: u64, processors| {
            let share = Share::of(gib << 30, processors);
            assert!(share.memory * share.count as u64 <= gib << 30);
            (share.memory >> 30, share.count)
        };
        assert_eq!(share(1, 8), (1, 1));
        assert_eq!(share(4, 8), (4, 1));
        assert_eq!(share(12, 2), (4, 2));
        assert_eq!(share(128, 8), (4, 8));
        assert_eq!(Share::of(0, 1).count, 1);
    }
}
