//! How much an application may use at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits of one application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time until a request's response head; no limit by default.
    pub deadline: Option<Duration>,
    /// Simultaneous instances in a worker. More requests wait.
    pub instances: u32,
    /// How long a request waits for an instance before it is refused.
    pub queue: Duration,
    /// Bytes of stack a guest may use.
    pub stack: usize,
}

impl Limits {
    /// Each slot only reserves address space, but its book-keeping is private memory of
    /// every pod: 100 slots cost 60 kB. A worker with 100 requests waiting for something
    /// else is far from idle.
    pub const DEFAULT_INSTANCES: u32 = 100;

    /// Clients' own timeouts are rarely below 10 s; half of that leaves room for a retry.
    pub const DEFAULT_QUEUE: Duration = Duration::from_secs(5);

    /// Wasmtime's own default is 512 KiB, which overflows with deep interpreters (Python);
    /// unused stack costs only address space.
    pub const DEFAULT_STACK: usize = 1 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
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
    /// The number of instances.
    pub instances: u32,
    /// How long the request waited.
    pub waited: Duration,
}

/// The right to use an instance.
#[derive(Debug)]
pub struct Permit {
    _permit: OwnedSemaphorePermit,
    own: bool,
}

impl Permit {
    /// Whether it belongs to the component's own part, for which no other component waits.
    pub fn is_own(&self) -> bool {
        self.own
    }
}

/// The instances of a worker, shared by its components. One half is divided: each component
/// has its own part, at least one instance. The other half goes to the first to ask, so
/// that one busy component can have all of it.
#[derive(Debug, Clone)]
pub struct Shares {
    common: Arc<Semaphore>,
    /// The size of each component's own part.
    own: usize,
    instances: u32,
    queue: Duration,
}

impl Shares {
    /// As many instances as `limits` allows, shared by this many components.
    pub fn new(limits: &Limits, components: usize) -> Self {
        let components = components.max(1);
        let instances = Self::instances(limits, components);
        let all = instances as usize;
        let own = match components {
            1 => all,
            _ => (all / 2 / components).max(1),
        };
        Shares {
            common: Arc::new(Semaphore::new(all - own * components)),
            own,
            instances,
            queue: limits.queue,
        }
    }

    /// How many instances a pool needs room for: the limit, but at least one for each
    /// component.
    pub fn instances(limits: &Limits, components: usize) -> u32 {
        let least = u32::try_from(components).unwrap_or(u32::MAX);
        limits.instances.max(least).max(1)
    }

    /// The permits of a further component.
    pub fn component(&self) -> Permits {
        Permits {
            own: Arc::new(Semaphore::new(self.own)),
            shares: self.clone(),
        }
    }
}

/// Hands out the instances of one component, first come, first served.
#[derive(Debug, Clone)]
pub struct Permits {
    own: Arc<Semaphore>,
    shares: Shares,
}

impl Permits {
    /// A permit, if one is free now.
    pub fn try_acquire(&self) -> Option<Permit> {
        let free = |semaphore: &Arc<Semaphore>, own| {
            let _permit = Arc::clone(semaphore).try_acquire_owned().ok()?;
            Some(Permit { _permit, own })
        };
        free(&self.own, true).or_else(|| free(&self.shares.common, false))
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`Busy`] if none became free within the queueing time.
    pub async fn acquire(&self) -> Result<Permit, Busy> {
        let Shares {
            common,
            instances,
            queue,
            ..
        } = &self.shares;
        let busy = Busy {
            instances: *instances,
            waited: *queue,
        };
        let free = async {
            tokio::select! {
                biased;
                own = Arc::clone(&self.own).acquire_owned() => (own, true),
                common = Arc::clone(common).acquire_owned() => (common, false),
            }
        };
        match tokio::time::timeout(*queue, free).await {
            Ok((Ok(_permit), own)) => Ok(Permit { _permit, own }),
            Ok((Err(_), _)) | Err(_) => Err(busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(instances: u32, components: usize) -> Shares {
        let limits = Limits {
            instances,
            queue: Duration::from_millis(10),
            ..Limits::default()
        };
        Shares::new(&limits, components)
    }

    fn take_all(permits: &Permits) -> Vec<Permit> {
        std::iter::from_fn(|| permits.try_acquire()).collect()
    }

    #[test]
    fn a_component_that_takes_all_it_can_leaves_the_others_their_part() {
        for (instances, components, greedy, other) in [
            (100, 1, 100, 0),
            (100, 2, 75, 25),
            (100, 3, 68, 16),
            (2, 3, 1, 1),
        ] {
            let shares = shares(instances, components);
            let all: Vec<_> = (0..components).map(|_| shares.component()).collect();
            let taken: Vec<_> = all.iter().map(take_all).collect();
            let counts: Vec<_> = taken.iter().map(Vec::len).collect();
            assert_eq!(counts[0], greedy, "{instances} for {components}");
            assert!(
                counts[1..].iter().all(|count| *count == other),
                "{counts:?}"
            );
            let limits = Limits {
                instances,
                ..Limits::default()
            };
            let room = Shares::instances(&limits, components) as usize;
            assert_eq!(counts.iter().sum::<usize>(), room, "{counts:?}");
        }
    }

    #[tokio::test]
    async fn who_waits_takes_what_comes_free_first() {
        let shares = shares(4, 2);
        let (one, other) = (shares.component(), shares.component());
        let mut ones = take_all(&one);
        let others = take_all(&other);
        // The first component got the shared ones; its own was taken before them.
        ones.pop();
        other.acquire().await.unwrap();
        drop(others);
        other.acquire().await.unwrap();
        ones.remove(0);
        assert!(other.try_acquire().is_some());
        one.acquire().await.unwrap();
    }

    #[tokio::test]
    async fn a_request_over_the_limit_waits_and_is_then_turned_away() {
        let permits = shares(1, 1).component();
        let held = permits.try_acquire().unwrap();
        assert!(permits.try_acquire().is_none());
        assert_eq!(
            permits.acquire().await.unwrap_err().to_string(),
            "all 1 instances were busy for 10ms"
        );
        drop(held);
        permits.acquire().await.unwrap();
    }
}
