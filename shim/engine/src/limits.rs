//! How much an application may take at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Limits of one application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that each linear memory of a guest may grow to; none means 4 GiB.
    pub memory: Option<usize>,
    /// Wall-clock time a request may take until its response head; none by default.
    pub deadline: Option<Duration>,
    /// Instances at once in a worker. More requests wait.
    pub instances: u32,
    /// How long a request waits for an instance before it is turned away.
    pub queue: Duration,
    /// Bytes of stack a guest may use.
    pub stack: usize,
}

impl Limits {
    /// Each slot reserves address space only, but its book-keeping is private
    /// memory of every pod: 100 cost 60 kB. A worker that has 100 requests
    /// waiting for something else is far from idle.
    pub const DEFAULT_INSTANCES: u32 = 100;

    /// A client's own timeout is seldom below 10 s; half of that leaves room
    /// for a retry.
    pub const DEFAULT_QUEUE: Duration = Duration::from_secs(5);

    /// wasmtime's own default is 512 KiB, on which deep interpreters (Python)
    /// overflow; address space is all it costs until it is used.
    pub const DEFAULT_STACK: usize = 1 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: None,
            deadline: None,
            instances: Self::DEFAULT_INSTANCES,
            queue: Self::DEFAULT_QUEUE,
            stack: Self::DEFAULT_STACK,
        }
    }
}

/// No instance became free in time.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("all {instances} instances were busy for {waited:?}")]
pub struct Busy {
    /// How many there are.
    pub instances: u32,
    /// How long the request waited.
    pub waited: Duration,
}

/// The right to have an instance.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Hands out instances: at most so many at once, first come, first served.
#[derive(Debug, Clone)]
pub struct Permits {
    semaphore: Arc<Semaphore>,
    instances: u32,
    queue: Duration,
}

impl Permits {
    /// As many as `limits` allows.
    pub fn new(limits: &Limits) -> Self {
        let instances = limits.instances.max(1);
        Permits {
            semaphore: Arc::new(Semaphore::new(instances as usize)),
            instances,
            queue: limits.queue,
        }
    }

    /// A permit if one is free now.
    pub fn try_acquire(&self) -> Option<Permit> {
        match Arc::clone(&self.semaphore).try_acquire_owned() {
            Ok(permit) => Some(Permit(permit)),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => None,
        }
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`Busy`] when none came free in the time a request may queue.
    pub async fn acquire(&self) -> Result<Permit, Busy> {
        let busy = Busy {
            instances: self.instances,
            waited: self.queue,
        };
        let acquire = Arc::clone(&self.semaphore).acquire_owned();
        match tokio::time::timeout(self.queue, acquire).await {
            Ok(Ok(permit)) => Ok(Permit(permit)),
            Ok(Err(_)) | Err(_) => Err(busy),
        }
    }
}

/// Refuses growth of linear memories beyond a limit, as the contract has it:
/// each memory on its own, and without a trap.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryLimit(pub Option<usize>);

impl wasmtime::ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let within = |limit: Option<usize>| limit.is_none_or(|limit| desired <= limit);
        Ok(within(self.0) && within(maximum))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::ResourceLimiter as _;

    #[tokio::test]
    async fn a_request_over_the_limit_waits_and_is_then_turned_away() {
        let permits = Permits::new(&Limits {
            instances: 1,
            queue: Duration::from_millis(10),
            ..Limits::default()
        });
        let held = permits.try_acquire().unwrap();
        assert!(permits.try_acquire().is_none());
        assert_eq!(
            permits.acquire().await.unwrap_err().to_string(),
            "all 1 instances were busy for 10ms"
        );
        drop(held);
        permits.acquire().await.unwrap();
    }

    #[test]
    fn memory_over_the_limit_is_refused_without_a_trap() {
        let mut limit = MemoryLimit(Some(1 << 20));
        assert!(limit.memory_growing(0, 1 << 20, None).unwrap());
        assert!(!limit.memory_growing(0, (1 << 20) + 1, None).unwrap());
    }
}
