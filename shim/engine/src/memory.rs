//! Limits the memory of a guest, both its own and that shared by a pod's guests, so that a
//! guest's growth is refused before the kernel ends the pod.

use crate::budget::Budget;

/// How much memory a guest may take.
#[derive(Debug, Clone, Default)]
pub struct MemoryLimit {
    /// Bytes for each linear memory, including what the host holds for the guest.
    pub each: Option<usize>,
    /// The budget it shares with others.
    pub budget: Option<Budget>,
    /// Whether there are no other guests.
    pub alone: bool,
}

/// What one guest has taken.
#[derive(Debug, Default)]
pub struct Account {
    /// The size of its memories.
    size: usize,
    /// How much they have grown since they were created.
    grown: usize,
    /// What the host holds for it.
    host: usize,
    /// What the budget has given to it.
    taken: usize,
}

/// Why a guest is ended to save its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The host holds more for it than its memory limit allows.
    #[error("the host holds {0} bytes for the guest, more than its memory limit allows")]
    Held(usize),
    /// All guests together have used up the pod's memory.
    #[error("the memory of the pod is used up; the guest that is computing is ended")]
    Exhausted,
}

impl MemoryLimit {
    /// Whether a memory may grow. Its initial size is its component's, and most of that is
    /// never touched.
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

    /// Whether a guest whose largest memory starts with this many bytes can be created at
    /// all, with no other guest running.
    pub fn allows_start(&self, bytes: u64) -> bool {
        let mut account = Account::default();
        let allowed = usize::try_from(bytes)
            .is_ok_and(|bytes| self.allows_growth(&mut account, 0, bytes, None));
        self.close(&mut account);
        allowed
    }

    /// Checks what the host holds for a guest, and the whole pod. To be called when the
    /// guest has computed for a while.
    ///
    /// # Errors
    /// Where the guest has to be ended.
    pub fn check(&self, account: &mut Account, host: usize) -> Result<(), MemoryError> {
        account.host = host;
        let all = account.grown + host;
        if self.each.is_some_and(|each| all > each) || !self.settle(account, all) {
            return Err(MemoryError::Held(host));
        }
        self.check_pod(account)
    }

    /// How many bytes more there are for a guest, or for what the host holds for it, at this
    /// moment.
    pub fn room(&self, account: &Account) -> usize {
        let all = account.grown + account.host;
        let own = self.each.unwrap_or(usize::MAX).saturating_sub(all);
        let shared = self.budget.as_ref().map_or(usize::MAX, |budget| {
            let free = (budget.free_each() + account.taken).saturating_sub(all);
            free.saturating_add(budget.room(account.taken, self.alone))
        });
        own.min(shared)
    }

    /// The host no longer holds anything for a guest, which continues.
    pub fn holds_nothing(&self, account: &mut Account) {
        if account.host > 0 {
            account.host = 0;
            self.settle(account, account.grown);
        }
    }

    /// Checks only the whole pod. A guest that is smaller than the free margin cannot be
    /// the one that exhausts it.
    ///
    /// # Errors
    /// Where the guest has to be ended.
    pub fn check_pod(&self, account: &Account) -> Result<(), MemoryError> {
        match &self.budget {
            Some(budget) if account.size > budget.margin() && budget.is_exhausted() => {
                Err(MemoryError::Exhausted)
            }
            _ => Ok(()),
        }
    }

    fn settle(&self, account: &mut Account, all: usize) -> bool {
        let Some(budget) = &self.budget else {
            return true;
        };
        let all = all.saturating_sub(budget.free_each());
        match all.checked_sub(account.taken) {
            Some(more @ 1..) if !budget.take(more, all, self.alone) => return false,
            Some(_) => {}
            None => budget.give_back(account.taken - all),
        }
        account.taken = all;
        true
    }

    /// Returns to the budget what a finished guest has taken.
    pub fn close(&self, account: &mut Account) {
        if let Some(budget) = &self.budget
            && account.taken > 0
        {
            budget.give_back(account.taken);
        }
        *account = Account::default();
    }
}

/// How large a new memory may be without being counted: interpreters start with some 30
/// MiB, of which they touch a tenth. A memory that starts empty may take its first step
/// within it.
const FIRST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::{Duration, Instant};

    use super::*;

    const MIB: usize = 1 << 20;

    fn limit(mib: usize) -> MemoryLimit {
        MemoryLimit {
            each: None,
            budget: Some(Budget::new(mib * MIB, || None, 1, 1000).unwrap()),
            alone: false,
        }
    }

    /// Grows by mebibytes until growth is refused.
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
    fn what_there_is_room_for_can_be_held_and_no_more() {
        let own = MemoryLimit {
            each: Some(4 * MIB),
            ..limit(128)
        };
        let alone = MemoryLimit {
            alone: true,
            ..limit(128)
        };
        assert_eq!(MemoryLimit::default().room(&Account::default()), usize::MAX);
        for limit in [own, alone, limit(128)] {
            for before in [0, MIB / 2, 3 * MIB] {
                let mut account = Account::default();
                limit.check(&mut account, before).unwrap();
                let room = limit.room(&account);
                limit.check(&mut account, before + room).unwrap();
                assert_eq!(limit.room(&account), 0);
                assert!(limit.check(&mut account, before + room + 1).is_err());
                limit.close(&mut account);
            }
        }
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
