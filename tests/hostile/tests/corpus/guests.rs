//! Guests: whatever one component does, its neighbour and the health endpoint answer, and
//! the application stops on SIGTERM.

use std::fs;
use std::time::Duration;

use skiff_hostile::{Server, Skiff, guest};

/// How long requests may go on after SIGTERM in these cases.
const DRAIN: Duration = Duration::from_secs(1);

/// The end comes within the drain limit and a second, as a debug build on a busy machine
/// may be scheduled late.
const STOPS_WITHIN: Duration = Duration::from_secs(DRAIN.as_secs() + 4);

/// An application of a hostile component below `/bad` and a good one below `/good`.
fn beside(name: &str, settings: &[(&str, &str)]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = "spin_manifest_version = 2\n[application]\nname = \"two\"\n\
        [[trigger.http]]\nroute = \"/bad/...\"\ncomponent = \"bad\"\n\
        [[trigger.http]]\nroute = \"/good\"\ncomponent = \"good\"\n\
        [component.bad]\nsource = \"bad.wasm\"\n[component.good]\nsource = \"good.wasm\"\n";
    fs::write(folder.path().join("spin.toml"), manifest).expect("written");
    fs::copy(guest(name), folder.path().join("bad.wasm")).expect("copied");
    fs::copy(guest("hello"), folder.path().join("good.wasm")).expect("copied");
    let mut skiff = Skiff::run(folder.path())
        .shared_cache()
        .env("SKIFF_DRAIN_TIMEOUT", "1s")
        .env("SKIFF_SHUTDOWN_DELAY", "0s")
        .env("SKIFF_WORKERS", "1");
    for (name, value) in settings {
        skiff = skiff.env(name, value);
    }
    (folder, skiff.serve())
}

/// Sends `requests` at once to the hostile component, and meanwhile requests to the
/// others.
#[track_caller]
fn harmless(name: &str, query: &str, settings: &[(&str, &str)], requests: usize) {
    let (_folder, server) = beside(name, settings);
    let path = format!("/bad/{query}");
    std::thread::scope(|scope| {
        for _ in 0..requests {
            scope.spawn(|| server.get(&path));
        }
        for _ in 0..3 {
            server.is_healthy();
            let good = server.get("/good");
            assert_eq!(good.status, 200, "beside {name}{query}: {good:?}");
        }
    });
    let (took, status, said) = server.stop();
    eprintln!("{name}{query}: it ended {took:?} after the signal");
    assert_eq!(status.code(), Some(0), "{name}{query}: {said}");
    assert!(took < STOPS_WITHIN, "{name}{query} stops after {took:?}");
}

const SOON: (&str, &str) = ("SKIFF_REQUEST_TIMEOUT", "2s");
const SMALL: (&str, &str) = ("SKIFF_MAX_INSTANCE_MEMORY", "32Mi");

macro_rules! harmless {
    ($($test:ident: $guest:literal $query:literal $settings:expr;)*) => {$(
        #[test]
        fn $test() {
            harmless($guest, $query, &$settings, 20);
        }
    )*};
}

harmless! {
    one_that_panics: "trap" "" [];
    one_that_executes_unreachable: "trap" "?how=unreachable" [];
    one_that_leaves_its_memory: "trap" "?how=memory" [];
    one_that_computes_for_ever: "loop-forever" "" [SOON];
    one_that_computes_for_ever_after_its_head: "loop-forever" "?head=1" [SOON];
    one_that_waits_for_ever: "hang" "" [SOON];
    one_that_waits_for_ever_after_its_head: "hang" "?head=1" [SOON];
    one_that_takes_all_memory: "eat-memory" "" [SMALL, SOON];
    one_that_calls_itself_for_ever: "recurse" "" [];
    one_that_never_answers: "never-answer" "" [];
    one_that_answers_twice: "answer-twice" "" [];
    one_that_answers_with_an_error: "error-answer" "" [];
    one_that_promises_more_than_it_sends: "short-body" "" [];
    one_that_traps_after_its_head: "trap-after-head" "?bytes=100000" [];
    one_that_answers_with_large_headers: "big-headers" "?count=200&size=4096" [];
    one_that_prints_a_lot: "print-a-lot" "?lines=40" [];
    one_that_sends_without_end: "stream-down" "?bytes=100000000" [SOON];
    one_of_wasi_0_3_that_fails: "p3-fail" "?how=0" [];
    one_of_wasi_0_3_that_panics: "p3-fail" "?how=1" [];
    one_of_wasi_0_3_that_waits_for_ever: "p3-fail" "?how=2" [SOON];
    one_of_wasi_0_3_that_computes_for_ever: "p3-fail" "?how=3" [SOON];
}

#[test]
fn a_hundred_that_compute_leave_health_and_the_stop_alone() {
    let (_folder, server) = beside("loop-forever", &[("SKIFF_QUEUE_TIMEOUT", "500ms")]);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| server.get("/bad/"));
        }
        for _ in 0..5 {
            server.is_healthy();
            std::thread::sleep(Duration::from_millis(200));
        }
        let stopper = scope.spawn(|| {
            // SAFETY: the server is waited for after this, so its id is still its own.
            unsafe { libc::kill(server.id() as i32, libc::SIGTERM) };
        });
        stopper.join().expect("a signal");
    });
    let (took, _, said) = server.stop();
    assert!(took < STOPS_WITHIN, "{took:?}: {said}");
}

#[test]
fn a_component_under_load_does_not_take_its_neighbours_instances() {
    let (_folder, server) = beside("hang", &[("SKIFF_MAX_INSTANCES", "10"), SOON]);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| server.get("/bad/"));
        }
        for _ in 0..10 {
            let good = server.get("/good");
            assert!(matches!(good.status, 200 | 503), "{good:?}");
            server.is_healthy();
        }
    });
    assert_eq!(server.get("/good").status, 200);
}
