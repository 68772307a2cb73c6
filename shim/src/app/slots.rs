//! Limits how many processes of a machine do something memory-intensive at once. A turn
//! ends with its process, however that ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How often to check for a free turn. It is not possible to wait for several locks at a
/// time.
const LOOK: Duration = Duration::from_millis(50);

/// A number of turns, each of which is the lock of a file.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    folder: PathBuf,
    name: &'static str,
    count: usize,
}

/// A turn, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _lock: File,
}

impl Slots {
    /// `count` turns at the activity called `name`; the lock files are in `folder`.
    pub(crate) fn new(folder: &Path, name: &'static str, count: usize) -> Self {
        Slots {
            folder: folder.to_owned(),
            name,
            count: count.max(1),
        }
    }

    /// Takes a turn if one is free.
    ///
    /// # Errors
    /// If the files cannot be made.
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
    /// If the files cannot be made.
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

/// Makes the kernel end this process before others when memory runs out, because its work
/// can be repeated. Its parent may be protected, and the child would inherit that.
///
/// # Errors
/// If the kernel does not accept the new score.
pub(crate) fn ends_first() -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", "1000")
}

/// How much processes that take much memory may use, each and together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Bytes per process.
    pub(crate) memory: u64,
    /// Number of processes at once.
    pub(crate) count: usize,
}

impl Share {
    /// The most memory that a process may write to. Compiling 12 MB of JavaScript takes
    /// some 700 MB on two cores; a component that needs more than this limit would take
    /// down the node's other pods.
    const MOST: u64 = 4 << 30;

    /// Divides one `parts`-th of the machine's memory among the processes.
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
        // Another name has its own turns.
        let others = Slots::new(folder.path(), "optimize", 1);
        let _other = others.try_take().unwrap().unwrap();
        drop(first);
        // Another test's process may have been forked with the lock, and ends in a
        // moment.
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
