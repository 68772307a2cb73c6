//! Shutdown: what a signal ends, and what it waits for.

mod support;

use support::{Skiff, answer};

#[test]
fn a_guest_works_on_after_its_answer_and_the_way_down_waits_for_it() {
    let skiff = Skiff::component("works-after-answer").start();
    assert_eq!(skiff.get("/?ms=500").status, 200);
    let ended = skiff.stop();
    assert!(ended.stdout.contains("work ends"), "{}", ended.stdout);
}

#[test]
fn the_way_down_finishes_what_runs() {
    let skiff = Skiff::component("sleep").env("SKIFF_WORKERS", "1").start();
    std::thread::scope(|scope| {
        let stream = skiff.ask("/?ms=700");
        let slow = scope.spawn(move || answer(stream).status);
        // A later request on the same worker shows that the first was accepted.
        assert_eq!(skiff.get("/?ms=1").status, 200);
        skiff.signal(libc::SIGTERM);
        assert_eq!(slow.join().unwrap(), 200);
    });
}

#[test]
fn a_signal_right_after_the_start_loses_no_request() {
    for _ in 0..5 {
        let skiff = Skiff::component("sleep").env("SKIFF_WORKERS", "3").start();
        let streams = [(); 9].map(|()| skiff.ask("/?ms=50"));
        skiff.signal(libc::SIGTERM);
        assert_eq!(streams.map(|stream| answer(stream).status), [200; 9]);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut skiff = Skiff::component("sleep").env("SKIFF_WORKERS", "1").start();
    let _waiting = skiff.ask("/?ms=60000");
    assert_eq!(skiff.get("/?ms=1").status, 200);
    skiff.signal(libc::SIGINT);
    std::thread::sleep(std::time::Duration::from_millis(300));
    skiff.signal(libc::SIGINT);
    assert_eq!(skiff.wait().status.code(), Some(143));
}
