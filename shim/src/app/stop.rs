//! The stop of an application, as a value: its runner holds one end, and the application
//! the other.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Stops an application, by its [`Stop`].
#[derive(Debug)]
pub struct Stopper(watch::Sender<Option<Instant>>);

/// How an application learns that it has to stop, and how much time it has.
#[derive(Debug, Clone)]
pub struct Stop {
    asked: watch::Receiver<Option<Instant>>,
    limit: Duration,
}

impl Stopper {
    /// Both ends. `limit` is the time that the application has after it was asked to
    /// stop.
    pub fn new(limit: Duration) -> (Stopper, Stop) {
        let (stopper, asked) = watch::channel(None);
        (Stopper(stopper), Stop { asked, limit })
    }

    /// Asks the application to stop; its time counts from `asked`. False if it has ended
    /// already.
    pub fn stop(&self, asked: Instant) -> bool {
        self.0.send(Some(asked)).is_ok()
    }
}

impl Stop {
    /// Waits until the application is asked to stop, or its [`Stopper`] is gone. Returns
    /// the moment from which its time counts.
    pub async fn asked(&mut self) -> Instant {
        let asked = self.asked.wait_for(Option::is_some).await.ok();
        asked.and_then(|asked| *asked).unwrap_or_else(Instant::now)
    }

    /// The remaining time for stopping.
    pub fn left(&self) -> Duration {
        let asked = (*self.asked.borrow()).unwrap_or_else(Instant::now);
        (asked + self.limit).saturating_duration_since(Instant::now())
    }

    /// How long stopping may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_time_counts_from_the_moment_it_was_told() {
        let (stopper, mut stop) = Stopper::new(Duration::from_secs(1000));
        let asked = Instant::now() - Duration::from_secs(600);
        assert!(stopper.stop(asked));
        stop.asked().await;
        assert!(stop.left() <= Duration::from_secs(400));
        drop(stop);
        assert!(!stopper.stop(asked));
    }

    #[tokio::test]
    async fn who_cannot_be_told_any_more_stops() {
        let (stopper, mut stop) = Stopper::new(Duration::ZERO);
        drop(stopper);
        stop.asked().await;
    }
}
