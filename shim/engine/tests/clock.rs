//! A guest that computes forever yields, so that a deadline can end it and others are
//! served, however many compute.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skiff_engine::{Clock, Guest, Pool, Resources, Runner, Tier};
use wasmtime::{Linker, Module, Store};

/// `(module (func (export "f") (loop br 0)))`
const LOOP: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x05\x01\x01f\0\0\x0a\x09\x01\x07\0\x03\x40\x0c\0\x0b\x0b";

struct Nobody;

impl Guest for Nobody {
    fn ticked(&mut self) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// A pool for the module.
fn pool(instances: u32) -> Pool {
    Pool {
        instances,
        resources: Resources {
            memories: 1,
            tables: 1,
            table_elements: 1,
        },
    }
}

#[test]
fn a_loop_without_end_meets_its_deadline() {
    let _clock = Clock::start().unwrap();
    let pool = pool(1);
    for tier in [Tier::Baseline, Tier::Optimized] {
        let runner = Runner::new(tier, false, 1 << 20, &pool).unwrap();
        let module = Module::new(runner.engine(), LOOP).unwrap();
        // A store may outlive its runner, for example when optimised code takes over.
        let (engine, ticks) = (runner.engine().clone(), runner.ticks());
        drop(runner);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let ended = runtime.block_on(async {
            let mut store = Store::new(&engine, Nobody);
            ticks.interrupt(&mut store);
            let linker = Linker::new(&engine);
            let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
            let looping = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
            let call = looping.call_async(&mut store, ());
            tokio::time::timeout(Duration::from_millis(50), call).await
        });
        assert!(ended.is_err(), "{tier:?}");
    }
}

/// Held by a test that counts ticks, and by one that computes for long.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn guests_of_any_number_of_engines_are_interrupted() {
    let _alone = alone();
    const ENGINES: usize = 100;
    let _clock = Clock::start().unwrap();
    let pool = pool(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    // Twice, so that the second round reuses the places of the first.
    for _ in 0..2 {
        let runners: Vec<_> = (0..ENGINES)
            .map(|_| Runner::new(Tier::Optimized, false, 1 << 20, &pool).unwrap())
            .collect();
        for runner in &runners {
            let module = Module::new(runner.engine(), LOOP).unwrap();
            let yielded = runtime.block_on(async {
                let mut store = Store::new(runner.engine(), Nobody);
                runner.ticks().interrupt(&mut store);
                let linker = Linker::new(runner.engine());
                let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
                let looping = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
                let call = looping.call_async(&mut store, ());
                tokio::time::timeout(Duration::from_millis(1), call).await
            });
            yielded.unwrap_err();
        }
    }
}

/// Ticks are this process's processor time, so the test does not depend on the machine's
/// load.
#[test]
fn however_many_guests_compute_sockets_are_looked_at_every_few_ticks() {
    let _alone = alone();
    const GUESTS: usize = 50;
    let _clock = Clock::start().unwrap();
    let pool = pool(GUESTS as u32);
    let runner = Runner::new(Tier::Optimized, false, 1 << 20, &pool).unwrap();
    let module = Module::new(runner.engine(), LOOP).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let slowest = runtime.block_on(async {
        let spawn = || {
            let (engine, ticks, module) = (runner.engine().clone(), runner.ticks(), module.clone());
            tokio::spawn(async move {
                skiff_engine::turn().await;
                let mut store = Store::new(&engine, Nobody);
                ticks.interrupt(&mut store);
                let linker = Linker::new(&engine);
                let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
                let looping = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
                looping.call_async(&mut store, ()).await.unwrap();
            })
        };
        let guests: Vec<_> = (0..GUESTS).map(|_| spawn()).collect();
        // A probe's needs: to be accepted, read and answered; also while the guests start.
        let mut slowest = 0;
        for _ in 0..20 {
            let before = Clock::ticks();
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            slowest = slowest.max(Clock::ticks() - before);
        }
        guests.iter().for_each(tokio::task::JoinHandle::abort);
        slowest
    });
    assert!(slowest <= 15, "a probe waits for {slowest} ticks");
}
