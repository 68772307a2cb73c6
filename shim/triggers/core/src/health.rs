//! The health of an application, as a value: its triggers update it, and health endpoints
//! read it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// The state of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not all of its triggers are ready.
    Starting,
    /// All of its triggers accept work.
    Ready,
    /// It was asked to stop, and finishes the work it has accepted.
    Going,
    /// One of its triggers has failed. The others finish the work they have accepted.
    Failed,
}

impl State {
    fn is_over(self) -> bool {
        matches!(self, State::Going | State::Failed)
    }
}

/// The health of one application in one worker, shared by all clones. It only moves
/// forward: an application that is stopping or has failed never becomes ready again.
#[derive(Debug, Clone)]
pub struct Health(Arc<watch::Sender<Life>>);

#[derive(Debug)]
struct Life {
    state: State,
    /// Triggers that are not ready yet.
    awaited: usize,
    /// When everything has to have ended; `None` until that is known.
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

    /// The current state. Never waits.
    pub fn state(&self) -> State {
        self.0.borrow().state
    }

    /// Waits until the application is no longer starting, and returns its state then.
    pub async fn started(&self) -> State {
        let mut changes = self.0.subscribe();
        // The sender is `self`, so the wait cannot fail.
        match changes.wait_for(|life| life.state != State::Starting).await {
            Ok(life) => life.state,
            Err(_) => State::Failed,
        }
    }

    /// Waits until the application stops, and returns when everything has to have ended.
    pub(crate) async fn over(&self) -> Instant {
        let mut changes = self.0.subscribe();
        let end = match changes.wait_for(|life| life.state.is_over()).await {
            Ok(life) => life.end,
            Err(_) => None,
        };
        end.unwrap_or_else(Instant::now)
    }

    /// Adds a trigger that has to become ready.
    pub(crate) fn awaits(&self) {
        self.0.send_modify(|life| life.awaited += 1);
    }

    /// One of the awaited triggers is ready.
    pub(crate) fn one_is_ready(&self) {
        self.0.send_modify(|life| life.awaited -= 1);
        self.look();
    }

    /// Becomes ready if no more triggers are awaited.
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

    /// The first reason to stop is kept.
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
