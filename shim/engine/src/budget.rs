//! Memory of a pod, which all guests of all its workers share.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags};

/// How often a guest may have what it leaves to the others: one alone gets three
/// quarters of all, two get three sevenths each, and there is always something left for
/// a guest that has just come.
const TIMES_WHAT_IS_LEFT: usize = 3;

/// What part of the memory is not for guests' growth: our own, sockets' buffers, and
/// what guests begin with.
const RESERVE: usize = 8;

/// The reserve is no less than this.
const LEAST_RESERVE: usize = 16 << 20;

/// What part of the memory workers leave free before they end guests.
const MARGIN: usize = 16;

/// What each guest may grow by without being counted, so that small ones touch nothing
/// that workers share.
const FREE_EACH: usize = 1 << 20;

/// How long it is believed what the pod may have. A guest that grows touches a few
/// mebibytes in it.
const MOMENT: Duration = Duration::from_millis(10);

/// Memory of a pod that its guests share. Made before workers are forked, it is one for
/// all of them.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What the pod may have now.
    look: fn() -> Option<usize>,
    began: Instant,
    /// What each may grow by without being counted.
    free_each: usize,
    workers: usize,
    /// This worker's number.
    worker: AtomicUsize,
    shared: Shared,
}

impl Budget {
    /// A budget of a pod that may have so many bytes, for so many workers that run so
    /// many guests each. `look` tells what the pod may have later, which a resize changes;
    /// it is asked while guests grow.
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

    /// Bytes that the pod may have.
    pub(crate) fn bytes(&self) -> usize {
        self.0.shared.number(Shared::BYTES).load(Relaxed)
    }

    /// Looks again what the pod may have, if that was not done in this moment already.
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

    /// Tells a worker that was forked its number, from 0.
    pub fn is_of_worker(&self, number: usize) {
        self.0.worker.store(number % self.0.workers, Relaxed);
    }

    /// What each guest may grow by without being counted.
    pub(crate) fn free_each(&self) -> usize {
        self.0.free_each
    }

    /// What workers leave free before they end guests.
    pub(crate) fn margin(&self) -> usize {
        self.bytes() / MARGIN
    }

    /// Takes bytes for a guest that then has `all`, or tells that they are not there.
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

    pub(crate) fn give_back(&self, bytes: usize) {
        self.0
            .shared
            .number(Shared::TAKEN)
            .fetch_sub(bytes, Relaxed);
    }

    /// Whether all workers together are about to have what the pod may have.
    pub(crate) fn is_exhausted(&self) -> bool {
        // Where the kernel does not tell, it will end the pod.
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
        // Workers that rest have perhaps less than when they last looked.
        for worker in workers() {
            let pid = worker.pid.load(Relaxed);
            if pid != own_pid {
                worker.bytes.store(memory_of(pid).unwrap_or(0), Relaxed);
            }
        }
        all() > most
    }
}

/// What of so many bytes is not for guests' growth.
fn reserve(bytes: usize) -> usize {
    (bytes / RESERVE).max(LEAST_RESERVE).min(bytes)
}

/// What a process has in memory that is its own, as the kernel counts it.
fn memory_of(pid: usize) -> Option<usize> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = text.split(' ').skip(1).map(str::parse::<usize>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(resident.saturating_sub(shared) * rustix::param::page_size())
}

/// What a worker had in memory when that was last looked at, and its process.
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

// SAFETY: all that is behind the pointer are atomics, and it lives as long as the value.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// What guests have grown by.
    const TAKEN: usize = 0;
    /// What the pod may have, and when that was last looked at.
    const BYTES: usize = 1;
    const LOOKED: usize = 2;
    /// Two for each worker.
    const WORKERS: usize = 3;

    fn new(workers: usize) -> io::Result<Self> {
        let count = Self::WORKERS + 2 * workers;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        let size = count * size_of::<AtomicUsize>();
        // SAFETY: a new mapping at an address that the kernel chooses is nobody else's.
        let page =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), size, protection, flags) }?;
        // It is zeroes, which are valid numbers, and aligned as pages are.
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
        // SAFETY: it was mapped with this size, and nobody has a reference any more.
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
        // As the second worker left it, of which nothing is there any more.
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
