//! Engines shared by the applications of a process: applications whose code is of the same
//! kind run on one engine, whose pool has room for all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::{EngineError, Pool, Resources, Runner, Tier};

/// What decides which engine can run some code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EngineKind {
    /// Which compiler made the code.
    pub tier: Tier,
    /// Whether components may be called concurrently (WASI 0.3).
    pub concurrency: bool,
    /// Bytes of stack a guest may use.
    pub stack: usize,
}

/// The engines of a process, each created on first use.
///
/// The size of a pool is fixed when its engine is created. So a holder of several
/// applications reserves a [`Place`] for each before loading the first; later ones share
/// another engine of the same kind with others reserved after that.
#[derive(Debug, Clone, Default)]
pub struct Engines(Arc<Mutex<Vec<Weak<Shared>>>>);

#[derive(Debug)]
struct Shared {
    kind: EngineKind,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pool: Pool,
    /// Whether the size of the pool is fixed.
    made: bool,
    /// Kept alive by its users.
    runner: Weak<Runner>,
}

/// Room for an application in an engine. It costs nothing before the engine is created.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    pool: Pool,
}

impl Engines {
    /// Reserves the room that `pool` describes.
    pub fn reserve(&self, kind: EngineKind, pool: Pool) -> Place {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|shared| shared.strong_count() > 0);
        for shared in all.iter().filter_map(Weak::upgrade) {
            if shared.kind == kind && shared.lock().makes_room_for(&pool) {
                return Place { shared, pool };
            }
        }
        let state = State {
            pool,
            made: false,
            runner: Weak::new(),
        };
        let shared = Arc::new(Shared {
            kind,
            state: Mutex::new(state),
        });
        all.push(Arc::downgrade(&shared));
        Place { shared, pool }
    }
}

impl Place {
    /// The engine, which is created if none of its sharers has it. Whoever runs code on it
    /// must hold it, so that the others find it.
    ///
    /// # Errors
    /// Where wasmtime refuses the configuration on this processor.
    pub fn runner(&self) -> Result<Arc<Runner>, EngineError> {
        let mut state = self.shared.lock();
        if let Some(runner) = state.runner.upgrade() {
            return Ok(runner);
        }
        let EngineKind {
            tier,
            concurrency,
            stack,
        } = self.shared.kind;
        state.made = true;
        let runner = Arc::new(Runner::new(tier, concurrency, stack, &state.pool)?);
        state.runner = Arc::downgrade(&runner);
        Ok(runner)
    }

    /// Whether the reserved room is enough for `pool`.
    pub fn has_room_for(&self, pool: &Pool) -> bool {
        let all = self.pool;
        pool.instances <= all.instances && larger(all.resources, pool.resources) == all.resources
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Enlarges the pool where that is still possible.
    fn makes_room_for(&mut self, more: &Pool) -> bool {
        if self.made {
            return false;
        }
        let Some(instances) = self.pool.instances.checked_add(more.instances) else {
            return false;
        };
        self.pool = Pool {
            instances,
            resources: larger(self.pool.resources, more.resources),
        };
        true
    }
}

/// The maximum of what their instances need.
fn larger(one: Resources, other: Resources) -> Resources {
    Resources {
        memories: one.memories.max(other.memories),
        tables: one.tables.max(other.tables),
        table_elements: one.table_elements.max(other.table_elements),
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;

    use super::*;

    const KIND: EngineKind = EngineKind {
        tier: Tier::Optimized,
        concurrency: false,
        stack: 1 << 20,
    };

    fn pool(instances: u32, memories: u32) -> Pool {
        Pool {
            instances,
            resources: Resources {
                memories,
                tables: 1,
                table_elements: 10,
            },
        }
    }

    #[test]
    fn who_needs_the_same_kind_shares_an_engine_with_room_for_all() {
        let engines = Engines::default();
        let one = engines.reserve(KIND, pool(2, 3));
        let two = engines.reserve(KIND, pool(5, 1));
        let concurrent = EngineKind {
            concurrency: true,
            ..KIND
        };
        let other = engines.reserve(concurrent, pool(1, 1));
        assert_eq!(one.shared.lock().pool, pool(7, 3));
        let (one, two) = (one.runner().unwrap(), two.runner().unwrap());
        assert!(Engine::same(one.engine(), two.engine()));
        let other = other.runner().unwrap();
        assert!(!Engine::same(one.engine(), other.engine()));
    }

    #[test]
    fn who_comes_after_an_engine_was_made_has_another() {
        let engines = Engines::default();
        let first = engines.reserve(KIND, pool(1, 1));
        let runner = first.runner().unwrap();
        let late = engines.reserve(KIND, pool(1, 1));
        let later = engines.reserve(KIND, pool(1, 1));
        let (late, later) = (late.runner().unwrap(), later.runner().unwrap());
        assert!(!Engine::same(runner.engine(), late.engine()));
        assert!(Engine::same(late.engine(), later.engine()));
    }

    #[test]
    fn an_engine_goes_with_the_last_who_uses_it_and_comes_again() {
        let engines = Engines::default();
        let place = engines.reserve(KIND, pool(1, 1));
        let engine = place.runner().unwrap().engine().weak();
        assert!(engine.upgrade().is_none());
        assert!(place.runner().is_ok());
        assert!(place.has_room_for(&pool(1, 1)));
        assert!(!place.has_room_for(&pool(2, 1)) && !place.has_room_for(&pool(1, 2)));
    }
}
