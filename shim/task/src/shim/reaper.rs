//! Reports which processes ended, and how. The shim's signal thread reaps every child;
//! this informs the tasks that wait for that child.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use containerd_shim::monitor::{ExitEvent, Subject, Topic, monitor_subscribe};
use tokio::sync::watch;

/// Stack of the listening thread, which makes no deep calls.
const STACK: usize = 64 << 10;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code, or 128 plus the number of the signal that killed it.
    pub(crate) code: u32,
    /// When its end was noticed.
    pub(crate) at: DateTime<Utc>,
}

impl Ended {
    /// An end that was noticed now.
    pub(crate) fn now(code: u32) -> Self {
        let at = Utc::now();
        Ended { code, at }
    }
}

/// The end of one process, now or later.
#[derive(Debug, Clone)]
pub(crate) struct Exit(watch::Receiver<Option<Ended>>);

impl Exit {
    /// Waits for the process to end.
    pub(crate) async fn wait(&self) -> Ended {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await {
            Ok(ended) => ended.unwrap_or_else(lost),
            // The sender is gone only when the whole shim is.
            Err(_) => lost(),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn now(&self) -> Option<Ended> {
        *self.0.borrow()
    }
}

fn lost() -> Ended {
    Ended::now(crate::exit::KILLED.into())
}

/// Knows which children are being waited for.
#[derive(Debug, Default)]
pub(crate) struct Reaper(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    watched: HashMap<i32, watch::Sender<Option<Ended>>>,
    /// Children that ended while a hold existed.
    early: HashMap<i32, Ended>,
    holds: usize,
}

/// While a hold exists, every end of a child is remembered: a child can be created first
/// and watched afterwards.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Reaper>);

impl Reaper {
    /// The shim's only reaper, which starts listening at the first call. That must be
    /// before the first child of interest is created.
    pub(crate) fn global() -> &'static Arc<Reaper> {
        static REAPER: LazyLock<Arc<Reaper>> = LazyLock::new(|| {
            let reaper = Arc::new(Reaper::default());
            if let Err(error) = listen(Arc::clone(&reaper)) {
                log::error!("cannot learn how containers end: {error}");
            }
            reaper
        });
        &REAPER
    }

    /// Remembers every end until the hold is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.state().holds += 1;
        Hold(Arc::clone(self))
    }

    /// Records the end of a child, as reported by the signal thread.
    pub(crate) fn ended(&self, pid: i32, ended: Ended) {
        let mut state = self.state();
        if let Some(sender) = state.watched.remove(&pid) {
            sender.send_replace(Some(ended));
        } else if state.holds > 0 {
            state.early.insert(pid, ended);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single step, so a panic elsewhere leaves no inconsistent
        // state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// The end of a child that was created while this was held.
    pub(crate) fn watch(&self, pid: i32) -> Exit {
        let mut state = self.0.state();
        let early = state.early.remove(&pid);
        let (sender, receiver) = watch::channel(early);
        if early.is_none() {
            state.watched.insert(pid, sender);
        }
        Exit(receiver)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.holds -= 1;
        if state.holds == 0 {
            // Freed, not only emptied, to keep the shim small between events.
            state.early = HashMap::new();
        }
    }
}

fn listen(reaper: Arc<Reaper>) -> Result<(), String> {
    let subscription = monitor_subscribe(Topic::Pid).map_err(|error| error.to_string())?;
    let events = move || {
        while let Ok(ExitEvent { subject, exit_code }) = subscription.rx.recv() {
            if let Subject::Pid(pid) = subject {
                reaper.ended(pid, Ended::now(exit_code as u32));
            }
        }
    };
    let thread = std::thread::Builder::new().name("exits".to_owned());
    let spawned = thread.stack_size(STACK).spawn(events);
    spawned.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_who_waits_learns_of_the_end() {
        let reaper = Arc::new(Reaper::default());
        let exit = reaper.hold().watch(7);
        let second = exit.clone();
        assert_eq!(exit.now(), None);
        reaper.ended(8, Ended::now(1));
        reaper.ended(7, Ended::now(137));
        assert_eq!(exit.wait().await.code, 137);
        assert_eq!(second.wait().await.code, 137);
        assert_eq!(second.now().map(|ended| ended.code), Some(137));
    }

    #[tokio::test]
    async fn a_child_that_ends_before_it_is_watched_is_not_missed() {
        let reaper = Arc::new(Reaper::default());
        let hold = reaper.hold();
        reaper.ended(7, Ended::now(3));
        assert_eq!(hold.watch(7).wait().await.code, 3);
    }

    #[test]
    fn strangers_are_forgotten_once_nothing_is_held() {
        let reaper = Arc::new(Reaper::default());
        let (first, second) = (reaper.hold(), reaper.hold());
        reaper.ended(7, Ended::now(3));
        drop(first);
        assert_eq!(reaper.state().early.len(), 1);
        drop(second);
        reaper.ended(8, Ended::now(3));
        assert!(reaper.state().early.is_empty());
    }

    #[tokio::test]
    async fn a_number_that_is_used_again_belongs_to_the_new_child() {
        let reaper = Arc::new(Reaper::default());
        let first = reaper.hold().watch(7);
        reaper.ended(7, Ended::now(1));
        let second = reaper.hold().watch(7);
        assert_eq!(first.wait().await.code, 1);
        assert_eq!(second.now(), None);
    }
}
