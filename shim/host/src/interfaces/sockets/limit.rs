//! How many connections sockets have at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits that all hold for the connections of a component's sockets. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    component: Arc<str>,
    limits: Arc<[Arc<Semaphore>]>,
}

/// The right to one connection, under each limit.
#[derive(Debug)]
pub(super) struct Right(#[expect(dead_code, reason = "held")] Vec<OwnedSemaphorePermit>);

impl Limits {
    pub(super) fn new(component: &Arc<str>, limits: Vec<Arc<Semaphore>>) -> Self {
        Limits {
            component: Arc::clone(component),
            limits: limits.into(),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.limits.is_empty()
    }

    /// The right to one more, if there is one under each limit.
    pub(super) fn take(&self) -> Option<Right> {
        let rights = self.limits.iter().map(|limit| {
            let right = Arc::clone(limit).try_acquire_owned();
            right.ok()
        });
        let rights: Option<Vec<_>> = rights.collect();
        if rights.is_none() {
            tracing::warn!(component_id = %self.component, "The limit of socket connections is reached");
        }
        rights.map(Right)
    }
}
