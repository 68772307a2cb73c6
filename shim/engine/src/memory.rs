//! How much memory guests may take: each of its own, and all of a pod together, so that
//! a guest sees a refused growth before the kernel ends the pod.

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

/// What part of the memory may stay with places of guests that are gone.
const KEPT: usize = 4;

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
    /// What each guest's place may keep when the guest is gone.
    kept_each: usize,
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
        let guests = guests.saturating_mul(workers).max(1);
        let page = rustix::param::page_size();
        let shared = Shared::new()?;
        shared.number(Shared::BYTES).store(bytes, Relaxed);
        Ok(Budget(Arc::new(Inner {
            look,
            began: Instant::now(),
            free_each: (reserve(bytes) / 2 / guests).min(FREE_EACH),
            kept_each: bytes / KEPT / guests / page * page,
            workers: workers.clamp(1, Shared::MOST_WORKERS),
            worker: AtomicUsize::new(0),
            shared,
        })))
    }

    /// Bytes that the pod may have.
    fn bytes(&self) -> usize {
        self.0.shared.number(Shared::BYTES).load(Relaxed)
    }

    /// Looks again what the pod may have, if that was not done in this moment already.
    fn look_again(&self) {
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

    /// How much of a guest's memory may stay resident when the guest is gone, for the
    /// next one.
    pub fn keep_resident(&self) -> usize {
        self.0.kept_each
    }

    /// Takes bytes for a guest that then has `all`, or tells that they are not there.
    fn take(&self, bytes: usize, all: usize, alone: bool) -> bool {
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

    fn give_back(&self, bytes: usize) {
        self.0
            .shared
            .number(Shared::TAKEN)
            .fetch_sub(bytes, Relaxed);
    }

    /// Whether all workers together are about to have what the pod may have.
    fn is_exhausted(&self) -> bool {
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

/// A page of numbers that forked processes share.
#[derive(Debug)]
struct Shared(NonNull<[AtomicUsize; Shared::NUMBERS]>);

// SAFETY: all that is behind the pointer are atomics, and it lives as long as the value.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    const NUMBERS: usize = 4096 / size_of::<AtomicUsize>();
    /// What guests have grown by.
    const TAKEN: usize = 0;
    /// What the pod may have, and when that was last looked at.
    const BYTES: usize = 1;
    const LOOKED: usize = 2;
    /// Two for each worker.
    const WORKERS: usize = 3;
    const MOST_WORKERS: usize = (Self::NUMBERS - Self::WORKERS) / 2;

    fn new() -> io::Result<Self> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address that the kernel chooses is nobody else's.
        let page =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), 4096, protection, flags) }?;
        // It is zeroes, which are valid numbers, and aligned as pages are.
        let page = NonNull::new(page.cast());
        page.map(Shared)
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
        // SAFETY: it was mapped with this size, and nobody has a reference any more.
        if let Err(error) = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), 4096) } {
            tracing::debug!(%error, "cannot unmap a page");
        }
    }
}

/// How much memory a guest may take.
#[derive(Debug, Clone, Default)]
pub struct MemoryLimit {
    /// Bytes that each linear memory may have, with what the host holds for the guest.
    pub each: Option<usize>,
    /// What it shares with others.
    pub budget: Option<Budget>,
    /// Whether there are no others.
    pub alone: bool,
}

/// What one guest has taken.
#[derive(Debug, Default)]
pub struct Account {
    /// What its memories have.
    size: usize,
    /// What they have grown by since they were made.
    grown: usize,
    /// What the host holds for it.
    host: usize,
    /// What was taken of the budget for it.
    taken: usize,
}

/// A guest that would be the end of its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The host holds more for it than its memory limit leaves.
    #[error("the guest makes the host hold {0} bytes, for which its memory limit has no room")]
    Held(usize),
    /// All guests together have taken what there is.
    #[error("the memory of the pod is used up; the guest that computes is ended")]
    Exhausted,
}

impl MemoryLimit {
    /// Whether a memory may grow. What it has from the start is its component's size,
    /// of which most is never touched.
    pub fn allows_growth(
        &self,
        account: &mut Account,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> bool {
        let within = |limit: Option<usize>, bytes| limit.is_none_or(|limit| bytes <= limit);
        if !within(maximum, desired) || !within(self.each, desired.saturating_add(account.host)) {
            return false;
        }
        if current == 0 && desired <= FIRST {
            account.size += desired;
            return true;
        }
        let grown = account.grown + desired.saturating_sub(current);
        let fits = self.settle(account, grown + account.host);
        if fits {
            account.grown = grown;
            account.size += desired.saturating_sub(current);
        }
        fits
    }

    /// Whether a guest whose largest memory begins with so many bytes can be made at all,
    /// while there is no other.
    pub fn allows_start(&self, bytes: u64) -> bool {
        let mut account = Account::default();
        let allowed = usize::try_from(bytes)
            .is_ok_and(|bytes| self.allows_growth(&mut account, 0, bytes, None));
        self.close(&mut account);
        allowed
    }

    /// Looks at what the host holds for a guest, and at the whole pod. To be called when
    /// the guest has computed for a while.
    ///
    /// # Errors
    /// Where the guest has to end.
    pub fn check(&self, account: &mut Account, host: usize) -> Result<(), MemoryError> {
        account.host = host;
        let all = account.grown + host;
        if self.each.is_some_and(|each| all > each) || !self.settle(account, all) {
            return Err(MemoryError::Held(host));
        }
        self.check_pod(account)
    }

    /// Looks at the whole pod alone. A guest that has less than what is left free cannot
    /// be what takes the rest.
    ///
    /// # Errors
    /// Where the guest has to end.
    pub fn check_pod(&self, account: &Account) -> Result<(), MemoryError> {
        match &self.budget {
            Some(budget) if account.size > budget.bytes() / MARGIN && budget.is_exhausted() => {
                Err(MemoryError::Exhausted)
            }
            _ => Ok(()),
        }
    }

    fn settle(&self, account: &mut Account, all: usize) -> bool {
        let Some(budget) = &self.budget else {
            return true;
        };
        let all = all.saturating_sub(budget.0.free_each);
        match all.checked_sub(account.taken) {
            Some(more @ 1..) if !budget.take(more, all, self.alone) => return false,
            Some(_) => {}
            None => budget.give_back(account.taken - all),
        }
        account.taken = all;
        true
    }

    /// Gives back what a guest has taken that is no more.
    pub fn close(&self, account: &mut Account) {
        if let Some(budget) = &self.budget
            && account.taken > 0
        {
            budget.give_back(account.taken);
        }
        *account = Account::default();
    }
}

/// What a memory may have when it is made without being counted: interpreters come with
/// some 30 MiB, of which they touch a tenth. A memory that begins with nothing may make
/// its first step within it.
const FIRST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn limit(mib: usize) -> MemoryLimit {
        MemoryLimit {
            each: None,
            budget: Some(Budget::new(mib * MIB, || None, 1, 1000).unwrap()),
            alone: false,
        }
    }

    /// Grows by mebibytes until it is refused.
    fn grow_all(limit: &MemoryLimit, account: &mut Account) -> usize {
        let mut size = MIB;
        while limit.allows_growth(account, size, size + MIB, None) {
            size += MIB;
        }
        size / MIB - 1
    }

    #[test]
    fn a_memory_over_its_own_limit_is_refused_without_a_trap() {
        let limit = MemoryLimit {
            each: Some(MIB),
            ..MemoryLimit::default()
        };
        let mut account = Account::default();
        assert!(limit.allows_growth(&mut account, 0, MIB, None));
        assert!(!limit.allows_growth(&mut account, MIB, MIB + 1, None));
        assert!(!limit.allows_growth(&mut account, 0, 2, Some(1)));
    }

    #[test]
    fn a_guest_that_takes_all_it_can_leaves_something_to_the_next() {
        let limit = limit(128);
        let mut greedy = Account::default();
        assert_eq!(grow_all(&limit, &mut greedy), 84);
        let mut next = Account::default();
        assert_eq!(grow_all(&limit, &mut next), 21);
        limit.close(&mut greedy);
        let mut third = Account::default();
        assert!(grow_all(&limit, &mut third) > 50);
        for account in [&mut next, &mut third] {
            limit.close(account);
        }
        assert_eq!(grow_all(&limit, &mut greedy), 84);
    }

    #[test]
    fn a_memory_that_can_never_be_made_is_known_before() {
        let limit = limit(128);
        assert!(limit.allows_start(80 << 20));
        assert!(!limit.allows_start(100 << 20));
        assert!(!limit.allows_start(u64::MAX));
        assert_eq!(grow_all(&limit, &mut Account::default()), 84);
    }

    #[test]
    fn a_command_has_all_that_there_is() {
        let limit = MemoryLimit {
            alone: true,
            ..limit(128)
        };
        assert_eq!(grow_all(&limit, &mut Account::default()), 112);
    }

    #[test]
    fn what_the_host_holds_counts_against_the_guests_limit() {
        let limit = MemoryLimit {
            each: Some(4 * MIB),
            ..MemoryLimit::default()
        };
        let mut account = Account::default();
        limit.check(&mut account, 3 * MIB).unwrap();
        assert!(!limit.allows_growth(&mut account, MIB, 2 * MIB, None));
        let held = limit.check(&mut account, 5 * MIB);
        assert_eq!(held, Err(MemoryError::Held(5 * MIB)));
    }

    #[test]
    fn what_the_host_holds_is_taken_of_what_all_share() {
        let limit = limit(128);
        let mut account = Account::default();
        limit.check(&mut account, 80 * MIB).unwrap();
        assert!(limit.check(&mut account, 100 * MIB).is_err());
        limit.check(&mut account, 0).unwrap();
        assert_eq!(grow_all(&limit, &mut Account::default()), 84);
    }

    #[test]
    fn places_of_guests_that_are_gone_keep_a_part_of_a_small_pod_only() {
        let kept = |mib: usize, guests| {
            let budget = Budget::new(mib * MIB, || None, 2, guests).unwrap();
            budget.keep_resident()
        };
        assert!(kept(128, 100) * 200 <= 32 * MIB);
        // As much of it as a hello touches.
        assert!(kept(128, 100) >= 80 << 10);
        assert!(kept(24 << 10, 100) > MIB);
    }

    #[test]
    fn guests_have_what_a_pod_has_after_a_resize() {
        static NOW: AtomicUsize = AtomicUsize::new(128 * MIB);
        let limit = MemoryLimit {
            budget: Some(Budget::new(128 * MIB, || Some(NOW.load(Relaxed)), 1, 1000).unwrap()),
            ..MemoryLimit::default()
        };
        for (mib, most) in [(256, 168), (64, 36), (128, 84)] {
            NOW.store(mib * MIB, Relaxed);
            let budget = limit.budget.as_ref().unwrap();
            let until = Instant::now() + Duration::from_secs(60);
            while budget.bytes() != mib * MIB {
                assert!(Instant::now() < until, "{mib} MiB are not seen");
                budget.look_again();
            }
            let mut account = Account::default();
            assert_eq!(grow_all(&limit, &mut account), most, "{mib}");
            limit.close(&mut account);
        }
    }

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
    fn forked_workers_share_one_budget() {
        let limit = limit(128);
        // SAFETY: the child only touches its own memory and the shared page.
        match unsafe { libc::fork() } {
            0 => {
                let taken = limit.settle(&mut Account::default(), 80 * MIB);
                // SAFETY: no preconditions.
                unsafe { libc::_exit(i32::from(!taken)) }
            }
            child => {
                let mut status = 0;
                // SAFETY: the child is ours, and the pointer outlives the call.
                unsafe { libc::waitpid(child, &mut status, 0) };
                assert_eq!(status, 0);
            }
        }
        assert!(grow_all(&limit, &mut Account::default()) < 30);
    }
}
