//! Limits on what guests and clients take: time, memory, stack, instances and headers.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;

use support::{HEALTH, Skiff};

#[test]
fn a_guest_whose_client_is_gone_has_an_end() {
    for (guest, path) in [("hang", "/"), ("hang", "/?head=1"), ("p3-fail", "/?how=2")] {
        let skiff = Skiff::component(guest)
            .env("SKIFF_CLIENT_GONE_TIMEOUT", "300ms")
            .env("SKIFF_MAX_INSTANCES", "1")
            .env("SKIFF_WORKERS", "1")
            .env("SKIFF_MAX_INSTANCE_CONCURRENT_REUSE_COUNT", "1")
            .env("SKIFF_QUEUE_TIMEOUT", "50s")
            .start();
        for _ in 0..3 {
            let mut stream = skiff.connect();
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
        // Each has used the one instance; the third ends with the process.
        let ended = skiff.stop();
        assert!(
            ended.stderr.matches("its client left").count() >= 1,
            "{guest}: {}",
            ended.stderr
        );
    }
}

#[test]
fn a_guest_that_computes_for_ever_meets_its_deadline_and_others_are_served() {
    let skiff = Skiff::component("loop-forever")
        .env("SKIFF_REQUEST_TIMEOUT", "1s")
        .env("SKIFF_WORKERS", "1")
        .start();
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| skiff.get("/").status);
        let health = skiff.get(HEALTH);
        assert_eq!(health.text(), "OK");
        assert_eq!(looping.join().unwrap(), 504);
    });
}

#[test]
fn a_guest_that_waits_for_ever_meets_its_deadline() {
    let skiff = Skiff::component("hang")
        .env("SKIFF_REQUEST_TIMEOUT", "500ms")
        .start();
    assert_eq!(skiff.get("/").status, 504);
    let cut = skiff.get("/?head=1");
    assert!(cut.status == 504 || !cut.whole, "{cut:?}");
}

#[test]
fn a_wasi_0_3_request_waits_for_none_that_computes() {
    let skiff = Skiff::component("p3-fail")
        .env("SKIFF_REQUEST_TIMEOUT", "5s")
        .env("SKIFF_WORKERS", "1")
        .start();
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| skiff.get("/?how=3").status);
        for _ in 0..20 {
            assert_eq!(skiff.get("/?how=0").status, 500);
        }
        assert!(!looping.is_finished());
        assert_eq!(looping.join().unwrap(), 504);
    });
}

#[test]
fn a_wasi_0_3_request_over_its_deadline_leaves_its_neighbours_alone() {
    let skiff = Skiff::component("p3-count")
        .env("SKIFF_REQUEST_TIMEOUT", "3s")
        .env("SKIFF_WORKERS", "1")
        .start();
    skiff.get("/");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| skiff.get("/?ms=60000").status);
        std::thread::sleep(std::time::Duration::from_secs(1));
        let neighbour = skiff.get("/?ms=2300");
        assert_eq!(slow.join().unwrap(), 504);
        assert!(neighbour.text().ends_with("at once 2\n"), "{neighbour:?}");
    });
    // The instance accepts no further requests.
    assert!(skiff.get("/").text().starts_with("taken 1 "));
}

#[test]
fn memory_ends_at_the_limit_and_nobody_else_is_hurt() {
    let skiff = Skiff::component("eat-memory")
        .env("SKIFF_MAX_INSTANCE_MEMORY", "32Mi")
        .start();
    assert_eq!(skiff.get("/?mib=8").text().trim(), "8 MiB");
    assert_eq!(skiff.get("/?mib=64").status, 500);
    assert_eq!(skiff.get("/?mib=8").text().trim(), "8 MiB");
}

#[test]
fn recursion_ends_at_the_stack_limit() {
    let skiff = Skiff::component("recurse").start();
    assert_eq!(skiff.get("/").status, 500);
    assert_eq!(skiff.get("/?depth=10").status, 200);
}

#[test]
fn requests_beyond_all_instances_wait_and_are_then_turned_away() {
    let skiff = Skiff::component("sleep")
        .env("SKIFF_WORKERS", "1")
        .env("SKIFF_MAX_INSTANCES", "1")
        .env("SKIFF_QUEUE_TIMEOUT", "300ms")
        .start();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| skiff.get("/?ms=3000").status);
        // Once the first request has its instance, there is no room for another.
        let turned_away = (0..100)
            .map(|_| skiff.get("/?ms=1"))
            .find(|a| a.status == 503);
        let answer = turned_away.expect("an answer of 503");
        assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
        assert_eq!(slow.join().unwrap(), 200);
    });
}

#[test]
fn too_many_and_too_large_headers_are_refused() {
    let skiff = Skiff::component("hello").start();
    let many: String = (0..10_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let status = skiff
        .send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"))
        .status;
    assert!(status == 431 || status == 0, "{status}");
    let long = "x".repeat(100 << 10);
    let status = skiff
        .send(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"))
        .status;
    assert!(status == 431 || status == 0, "{status}");
    assert_eq!(skiff.get("/").status, 200);
}

#[test]
fn a_guest_may_answer_with_large_headers() {
    let answer = Skiff::component("big-headers")
        .start()
        .get("/?count=20&size=1000");
    assert_eq!(answer.status, 200);
    assert!(answer.head.len() > 20_000);
}

#[test]
fn a_client_that_leaves_does_not_end_the_guest() {
    let skiff = Skiff::component("works-after-answer").start();
    let mut stream = skiff.ask("/?ms=300");
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    drop(stream);
    assert_eq!(skiff.lines(2).len(), 2);
}
