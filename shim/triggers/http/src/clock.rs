//! Time for many timeouts that rarely occur: a counter that one timer of the server
//! advances, so that a request costs loads and stores and no timers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The resolution of timeouts is an eighth of the shortest of them…
const PARTS: u32 = 8;
/// …but the server need not wake up more often than this for accuracy…
const SHORTEST_TICK: Duration = Duration::from_millis(5);
/// …and is not later than this even with long timeouts.
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// A clock that only moves when it is advanced.
#[derive(Debug)]
pub(crate) struct Clock {
    tick: Duration,
    now: AtomicU64,
}

impl Clock {
    /// A clock with enough resolution for timeouts as short as `shortest`.
    pub(crate) fn new(shortest: Duration) -> Self {
        let tick = (shortest / PARTS).clamp(SHORTEST_TICK, LONGEST_TICK);
        // Zero stands for a mark that is not set.
        Clock {
            tick,
            now: AtomicU64::new(1),
        }
    }

    /// How often [`Clock::advance`] has to be called.
    pub(crate) fn tick(&self) -> Duration {
        self.tick
    }

    pub(crate) fn advance(&self) {
        self.now.fetch_add(1, Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// A duration in ticks, rounded up.
    pub(crate) fn ticks(&self, duration: Duration) -> u64 {
        duration
            .as_nanos()
            .div_ceil(self.tick.as_nanos())
            .try_into()
            .unwrap_or(u64::MAX)
    }
}

/// A moment of a [`Clock`], if set.
#[derive(Debug, Default)]
pub(crate) struct Mark(AtomicU64);

impl Mark {
    pub(crate) fn set(&self, clock: &Clock) {
        self.0.store(clock.now(), Relaxed);
    }

    pub(crate) fn set_once(&self, clock: &Clock) {
        if !self.is_set() {
            self.set(clock);
        }
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// How many ticks have passed since it was set.
    pub(crate) fn age(&self, clock: &Clock) -> u64 {
        clock.now().saturating_sub(self.0.load(Relaxed))
    }

    /// Whether the mark is set and more than `ticks` old.
    pub(crate) fn is_older(&self, ticks: u64, clock: &Clock) -> bool {
        let set = self.0.load(Relaxed);
        set != 0 && clock.now().saturating_sub(set) > ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_grows_old_only_as_the_clock_advances() {
        let clock = Clock::new(Duration::from_millis(80));
        assert_eq!(clock.tick(), Duration::from_millis(10));
        let limit = clock.ticks(Duration::from_millis(15));
        assert_eq!(limit, 2);
        let mark = Mark::default();
        mark.set_once(&clock);
        for _ in 0..2 {
            clock.advance();
            mark.set_once(&clock);
            assert!(!mark.is_older(limit, &clock));
        }
        clock.advance();
        assert!(mark.is_older(limit, &clock));
        mark.clear();
        assert!(!mark.is_older(limit, &clock));
    }

    #[test]
    fn ticks_stay_within_reason() {
        assert_eq!(Clock::new(Duration::ZERO).tick(), SHORTEST_TICK);
        assert_eq!(Clock::new(Duration::MAX).tick(), LONGEST_TICK);
        assert_eq!(Clock::new(Duration::MAX).ticks(Duration::MAX), u64::MAX);
    }
}
