//! The one timer of a server.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Ticks while it is on. The kernel keeps the time: a timer of the runtime would read the
/// clock twice whenever it sleeps, which is once per request in quiet times.
#[derive(Debug)]
pub(crate) struct Ticker {
    timer: AsyncFd<OwnedFd>,
    tick: Duration,
    is_on: bool,
}

/// Creates the timer of a [`Ticker`]; needs no runtime.
pub(crate) fn timer() -> io::Result<OwnedFd> {
    Ok(timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )?)
}

impl Ticker {
    /// A ticker, switched off.
    pub(crate) fn new(timer: OwnedFd, tick: Duration) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` always gives the same descriptor and keeps it open, and it
        // stays inside the `AsyncFd`, which cannot replace it, until that is dropped.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Ticker {
            timer,
            tick,
            is_on: false,
        })
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Switches it on or off; without a change this costs nothing.
    pub(crate) fn turn(&mut self, on: bool) {
        if self.is_on == on {
            return;
        }
        let tick = if on { self.tick } else { Duration::ZERO };
        // Ticks are at most a few seconds.
        let tick = Timespec {
            tv_sec: tick.as_secs().cast_signed(),
            tv_nsec: tick.subsec_nanos().into(),
        };
        let times = Itimerspec {
            it_interval: tick,
            it_value: tick,
        };
        match timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times) {
            Ok(_) => self.is_on = on,
            Err(error) => tracing::error!(%error, "cannot set the timer; timeouts are not kept"),
        }
    }

    /// Waits for the next tick. Missed ticks count as one, so that clients' timeouts do not
    /// advance while the process is stopped.
    pub(crate) async fn tick(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?));
            match read {
                Ok(result) => return result.map(|_| ()),
                // Switched off in the meantime.
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn ticks_only_while_on() {
        let tick = Duration::from_millis(5);
        let mut ticker = Ticker::new(timer().unwrap(), tick).unwrap();
        ticker.turn(true);
        for _ in 0..3 {
            ticker.tick().await.unwrap();
        }
        ticker.turn(false);
        assert!(!ticker.is_on());
        timeout(tick * 4, ticker.tick()).await.unwrap_err();
    }
}
