//! The health of an application, as a value: its triggers make it, and whatever is asked
//! for it reads it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// How an application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not all of its triggers are ready.
    Starting,
    /// All of its triggers take work.
    Ready,
    /// It was told to stop, and finishes what it has taken.
    Going,
    /// One of its triggers has failed. The others finish what they have taken.
    Failed,
}

impl State {
    fn is_over(self) -> bool {
        matches!(self, State::Going | State::Failed)
    }
}

/// The health of one application in one worker. Clones share it. It only goes forward:
/// what is going or has failed is never ready again.
#[derive(Debug, Clone)]
pub struct Health(Arc<watch::Sender<Life>>);

#[derive(Debug)]
struct Life {
    state: State,
    /// Triggers that are not ready yet.
    awaited: usize,
    /// When everything has to have ended, once that is known.
    end: Option<Instant>,
}

impl Health {
    pub(crate) fn new() -> Self {
        let life = Life {
            state: State::Starting,
            awaited: 0,
            end: None,
        };
        Health(Arc::new(watch::Sender::new(life)))
    }

    /// How the application is at this moment. Never waits for anything.
    pub fn state(&self) -> State {
        self.0.borrow().state
    }

    /// Waits until the application is not starting any more, and returns how it is then.
    pub async fn started(&self) -> State {
        let mut changes = self.0.subscribe();
        // The sender is `self`, so the wait cannot fail.
        match changes.wait_for(|life| life.state != State::Starting).await {
            Ok(life) => life.state,
            Err(_) => State::Failed,
        }
    }

    /// Waits until the application stops, and returns when all of it has to have ended.
    pub(crate) async fn over(&self) -> Instant {
        let mut changes = self.0.subscribe();
        let end = match changes.wait_for(|life| life.state.is_over()).await {
            Ok(life) => life.end,
            Err(_) => None,
        };
        end.unwrap_or_else(Instant::now)
    }

    /// One more trigger has to be ready.
    pub(crate) fn awaits(&self) {
        self.0.send_modify(|life| life.awaited += 1);
    }

    /// One of those that had to be ready is.
    pub(crate) fn one_is_ready(&self) {
        self.0.send_modify(|life| life.awaited -= 1);
        self.look();
    }

    /// Becomes ready where nothing more is awaited.
    pub(crate) fn look(&self) {
        self.0.send_if_modified(|life| {
            let ready = life.state == State::Starting && life.awaited == 0;
            if ready {
                life.state = State::Ready;
            }
            ready
        });
    }

    pub(crate) fn go(&self, end: Instant) {
        self.ends(State::Going, end);
    }

    pub(crate) fn fail(&self, end: Instant) {
        self.ends(State::Failed, end);
    }

    /// The first reason to stop stays.
    fn ends(&self, state: State, end: Instant) {
        self.0.send_if_modified(|life| {
            let first = !life.state.is_over();
            if first {
                life.state = state;
                life.end = Some(end);
            }
            first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_ready_with_its_last_trigger() {
        let health = Health::new();
        health.awaits();
        health.awaits();
        health.one_is_ready();
        assert_eq!(health.state(), State::Starting);
        health.one_is_ready();
        assert_eq!(health.state(), State::Ready);
    }

    #[test]
    fn an_application_without_triggers_is_ready_when_it_is_looked_at() {
        let health = Health::new();
        assert_eq!(health.state(), State::Starting);
        health.look();
        assert_eq!(health.state(), State::Ready);
    }

    #[test]
    fn what_goes_is_never_ready_again() {
        let health = Health::new();
        health.awaits();
        health.go(Instant::now());
        health.one_is_ready();
        health.fail(Instant::now());
        assert_eq!(health.state(), State::Going);
    }
}
