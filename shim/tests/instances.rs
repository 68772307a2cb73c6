//! Each request gets a pristine instance, whether it is newly created or reset.

mod support;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::{Running, Skiff, guest, root};

/// Consecutive requests use the same instance, if it is reused.
const REQUESTS: usize = 300;

fn one_worker(path: &Path) -> Running {
    Skiff::of(path).env("SKIFF_WORKERS", "1").start()
}

/// A built sample of `images/`.
fn sample(name: &str) -> PathBuf {
    root().join("target/images").join(name)
}

/// Memories of idle instances, in their initial state: no write to them may go unnoticed.
fn watched(skiff: &Running) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", skiff.id())).unwrap();
    let lines = maps.lines().filter(|line| line.ends_with(".native"));
    // Mappings of the code itself are never next to private memory.
    lines.filter(|line| line.contains(" r--p ")).count()
}

#[test]
fn nothing_of_a_request_is_there_for_the_next() {
    let skiff = one_worker(&guest("count"));
    for _ in 0..REQUESTS {
        assert_eq!(skiff.get("/").text(), "1\n");
    }
    std::thread::scope(|scope| {
        let clients =
            (0..8).map(|_| scope.spawn(|| (0..50).all(|_| skiff.get("/").text() == "1\n")));
        let clients: Vec<_> = clients.collect();
        assert!(clients.into_iter().all(|client| client.join().unwrap()));
    });
}

/// More handles than wasmtime can count, a few hundred per request.
#[test]
fn handles_that_guests_leave_behind_fail_no_request() {
    let skiff = one_worker(&guest("hoard"));
    for _ in 0..REQUESTS {
        assert_eq!(skiff.get("/?what=litter&count=400").text(), "400\n");
    }
}

#[test]
fn what_was_asked_for_is_reused_as_it_was_left() {
    let skiff = Skiff::component("count")
        .env("SKIFF_WORKERS", "1")
        .env("SKIFF_INSTANCE_REUSE", "true")
        .start();
    for number in 1..=20 {
        assert_eq!(skiff.get("/").text(), format!("{number}\n"));
    }
}

#[test]
fn each_request_has_random_numbers_of_its_own() {
    let skiff = one_worker(&guest("random"));
    let numbers: HashSet<_> = (0..50).map(|_| skiff.get("/").text()).collect();
    assert_eq!(numbers.len(), 50);
}

#[test]
fn guests_of_public_toolchains_are_made_what_they_were() {
    for (path, greeting) in [
        (guest("hello"), "Hello from Wasm\n"),
        (sample("hello-js"), "Hello from JavaScript\n"),
        (sample("hello-wasi"), "Hello from WASI\n"),
    ] {
        let skiff = one_worker(&path);
        let before = watched(&skiff);
        for _ in 0..REQUESTS {
            assert_eq!(skiff.get("/").text(), greeting, "{}", path.display());
        }
        assert!(watched(&skiff) > before, "{}", path.display());
    }
}

#[test]
fn a_guest_that_traps_takes_no_other_with_it() {
    let skiff = one_worker(&guest("trap"));
    for how in ["unreachable", "memory", "panic"] {
        for _ in 0..20 {
            assert_eq!(skiff.get(&format!("/?how={how}")).status, 500, "{how}");
        }
    }
    let skiff = one_worker(&guest("recurse"));
    for _ in 0..20 {
        assert_eq!(skiff.get("/?depth=10").status, 200);
        assert_eq!(skiff.get("/").status, 500);
    }
}

/// Bytes of anonymous memory of a process.
fn anonymous_memory(skiff: &Running) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", skiff.id())).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn memory_that_a_burst_took_is_returned() {
    let skiff = Skiff::component("echo").env("SKIFF_WORKERS", "1").start();
    for _ in 0..10 {
        assert_eq!(skiff.post("/", "small").text(), "small");
    }
    let before = anonymous_memory(&skiff);
    let body = "x".repeat(100_000);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| assert_eq!(skiff.post("/", &body).body.len(), body.len()));
        }
    });
    let taken = anonymous_memory(&skiff).saturating_sub(before);
    // What the allocator uses itself, and pages that hold something small, stay.
    let may_stay = before + taken / 5;
    let until = Instant::now() + Duration::from_secs(60);
    while anonymous_memory(&skiff) > may_stay {
        let now = anonymous_memory(&skiff);
        assert!(
            Instant::now() < until,
            "{before} before, {taken} more, {now} now"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
