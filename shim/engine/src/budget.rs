//! The memory of a pod, which all guests of all its workers share.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags};

/// A guest may have at most this many times what it leaves to the others: one guest alone
/// gets three quarters of everything, two get three sevenths each, and something is always
/// left for a new guest.
const TIMES_WHAT_IS_LEFT: usize = 3;

/// One part in this many is not available to guests' growth: it is for Skiff itself, socket
/// buffers, and what guests start with.
const RESERVE: usize = 8;

/// The least size of the reserve.
const LEAST_RESERVE: usize = 16 << 20;

/// Workers leave one part in this many free before they end guests.
const MARGIN: usize = 16;

/// How much each guest may grow without being counted, so that small guests do not touch
/// memory that workers share.
const FREE_EACH: usize = 1 << 20;

/// How long a reading of the pod's limit is valid. A growing guest touches a few mebibytes
/// in this time.
const MOMENT: Duration = Duration::from_millis(10);

/// The memory budget that a pod's guests share. One made before workers are forked is
/// shared by all of them.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Returns the pod's current limit.
    look: fn() -> Option<usize>,
    began: Instant,
    /// How much each guest may grow without being counted.
    free_each: usize,
    workers: usize,
    /// This worker's number.
    worker: AtomicUsize,
    shared: Shared,
}

impl Budget {
    /// A budget for a pod with this many bytes and workers, each of which runs this many
    /// guests. `look` returns the pod's current limit, which a resize changes; it is called
    /// while guests grow.
    ///
    /// # Errors
    /// Where the kernel has no page for it.
    pub fn new(
        bytes: usize,
        look: fn() -> Option<usize>,
        workers: usize,
        guests: usize,
    ) -> io::Result<Self> {
        let workers = workers.max(1);
        let guests = guests.saturating_mul(workers).max(1);
        let shared = Shared::new(workers)?;
        shared.number(Shared::BYTES).store(bytes, Relaxed);
        Ok(Budget(Arc::new(Inner {
            look,
            began: Instant::now(),
            free_each: (reserve(bytes) / 2 / guests).min(FREE_EACH),
            workers,
            worker: AtomicUsize::new(0),
            shared,
        })))
    }

    /// The pod's limit in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.shared.number(Shared::BYTES).load(Relaxed)
    }

    /// Reads the pod's limit again unless that was done a moment ago.
    pub(crate) fn look_again(&self) {
        let moment = self.0.began.elapsed().as_nanos() / MOMENT.as_nanos();
        let moment = usize::try_from(moment).unwrap_or(usize::MAX);
        let looked = self.0.shared.number(Shared::LOOKED);
        if looked.load(Relaxed) != moment
            && looked.swap(moment, Relaxed) != moment
            && let Some(bytes) = (self.0.look)()
        {
            self.0.shared.number(Shared::BYTES).store(bytes, Relaxed);
        }
    }

    /// Sets the number of a forked worker, from 0.
    pub fn is_of_worker(&self, number: usize) {
        self.0.worker.store(number % self.0.workers, Relaxed);
    }

    /// How much each guest may grow without being counted.
    pub(crate) fn free_each(&self) -> usize {
        self.0.free_each
    }

    /// How much workers leave free before they end guests.
    pub(crate) fn margin(&self) -> usize {
        self.bytes() / MARGIN
    }

    /// Takes bytes for a guest that then has `all`; returns `false` if they are not
    /// available.
    pub(crate) fn take(&self, bytes: usize, all: usize, alone: bool) -> bool {
        self.look_again();
        let most = self.bytes();
        let used = self.0.shared.number(Shared::TAKEN);
        let now = used.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let fits = (most - reserve(most))
            .checked_sub(now)
            .is_some_and(|left| alone || all <= left.saturating_mul(TIMES_WHAT_IS_LEFT));
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    /// How many bytes can be taken at this moment for a guest that has taken `taken`.
    pub(crate) fn room(&self, taken: usize, alone: bool) -> usize {
        let most = self.bytes();
        let used = self.0.shared.number(Shared::TAKEN).load(Relaxed);
        let left = (most - reserve(most)).saturating_sub(used);
        if alone {
            return left;
        }
        let times = TIMES_WHAT_IS_LEFT;
        left.saturating_mul(times).saturating_sub(taken) / (times + 1)
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.0
            .shared
            .number(Shared::TAKEN)
            .fetch_sub(bytes, Relaxed);
    }

    /// Whether all workers together have nearly reached the pod's limit.
    pub(crate) fn is_exhausted(&self) -> bool {
        // If the kernel does not report the usage, it will end the pod itself.
        let own_pid = std::process::id() as usize;
        let Some(own) = memory_of(own_pid) else {
            return false;
        };
        self.look_again();
        let most = self.bytes();
        let most = most - most / MARGIN;
        let own_worker = self.0.worker.load(Relaxed);
        self.0.shared.of_worker(own_worker).store(own, own_pid);
        let workers = || (0..self.0.workers).map(|worker| self.0.shared.of_worker(worker));
        let all = || {
            workers()
                .map(|worker| worker.bytes.load(Relaxed))
                .sum::<usize>()
        };
        if all() <= most {
            return false;
        }
        // Idle workers may use less than when they were last measured.
        for worker in workers() {
            let pid = worker.pid.load(Relaxed);
            if pid != own_pid {
                worker.bytes.store(memory_of(pid).unwrap_or(0), Relaxed);
            }
        }
        all() > most
    }
}

/// How much of this many bytes is not available to guests' growth.
fn reserve(bytes: usize) -> usize {
    (bytes / RESERVE).max(LEAST_RESERVE).min(bytes)
}

/// The private memory of a process, as the kernel counts it.
fn memory_of(pid: usize) -> Option<usize> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<usize>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(resident.saturating_sub(shared) * rustix::param::page_size())
}

/// A worker's memory when last measured, and its process id.
struct OfWorker<'a> {
    bytes: &'a AtomicUsize,
    pid: &'a AtomicUsize,
}

impl OfWorker<'_> {
    fn store(&self, bytes: usize, pid: usize) {
        self.bytes.store(bytes, Relaxed);
        self.pid.store(pid, Relaxed);
    }
}

/// Numbers that forked processes share.
#[derive(Debug)]
struct Shared(NonNull<[AtomicUsize]>);

// SAFETY: the pointer leads to atomics only, and lives as long as the value.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The total growth of all guests.
    const TAKEN: usize = 0;
    /// The pod's limit, and when it was last read.
    const BYTES: usize = 1;
    const LOOKED: usize = 2;
    /// Two for each worker.
    const WORKERS: usize = 3;

    fn new(workers: usize) -> io::Result<Self> {
        let count = Self::WORKERS + 2 * workers;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        let size = count * size_of::<AtomicUsize>();
        // SAFETY: a new mapping at an address that the kernel chooses is not used elsewhere.
        let page =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), size, protection, flags) }?;
        // It contains zeroes, which are valid numbers, and is page-aligned.
        let first = NonNull::new(page.cast());
        first
            .map(|first| Shared(NonNull::slice_from_raw_parts(first, count)))
            .ok_or_else(|| io::Error::other("the kernel gave no page"))
    }

    fn of_worker(&self, worker: usize) -> OfWorker<'_> {
        let first = Self::WORKERS + 2 * worker;
        OfWorker {
            bytes: self.number(first),
            pid: self.number(first + 1),
        }
    }

    fn number(&self, index: usize) -> &AtomicUsize {
        // SAFETY: the mapping lives as long as `self` and holds atomics only.
        let numbers = unsafe { self.0.as_ref() };
        &numbers[index]
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let size = self.0.len() * size_of::<AtomicUsize>();
        // SAFETY: it was mapped with this size, and no reference is left.
        if let Err(error) = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), size) } {
            tracing::debug!(%error, "cannot unmap a page");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_had_once_is_not_held_against_others() {
        let budget = Budget::new(1 << 40, || None, 2, 100).unwrap();
        // The state that the second worker left; that worker no longer exists.
        let no_process = usize::MAX;
        budget.0.shared.of_worker(1).store(1 << 40, no_process);
        assert!(!budget.is_exhausted());
        assert_eq!(budget.0.shared.of_worker(1).bytes.load(Relaxed), 0);
    }

    #[test]
    fn there_is_room_for_any_number_of_workers() {
        let budget = Budget::new(1 << 40, || None, 5000, 100).unwrap();
        budget.is_of_worker(4999);
        assert!(!budget.is_exhausted());
        let last = budget.0.shared.of_worker(4999);
        assert_eq!(last.pid.load(Relaxed), std::process::id() as usize);
    }
}
