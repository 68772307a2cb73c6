//! Whatever guests, clients and readers do, health requests are answered, other requests
//! are served, and the signal ends the process.

mod support;

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{HEALTH, Running, Skiff};

/// Two components that sleep.
const TWO: &str = r#"
spin_manifest_version = 2
[application]
name = "two"
[[trigger.http]]
route = "/one"
component = "one"
[[trigger.http]]
route = "/other"
component = "other"
[component.one]
source = "{guest:sleep}"
[component.other]
source = "{guest:sleep}"
"#;

/// Sends requests without waiting for the answers.
fn ask(skiff: &Running, path: &str, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| skiff.ask(path)).collect()
}

/// The longest time of several consecutive probes.
fn slowest_probe(skiff: &Running) -> Duration {
    let probe = |_| {
        let began = Instant::now();
        let health = skiff.get(HEALTH);
        assert_eq!(health.text(), "OK", "{health:?}");
        let took = began.elapsed();
        std::thread::sleep(Duration::from_millis(100));
        took
    };
    (0..20).map(probe).max().unwrap()
}

#[test]
fn a_hundred_computing_guests_keep_neither_health_nor_others_nor_the_signal_waiting() {
    let skiff = Skiff::manifest(
        r#"
spin_manifest_version = 2
[application]
name = "busy"
[[trigger.http]]
route = "/loop"
component = "loop"
[[trigger.http]]
route = "/hello"
component = "hello"
[component.loop]
source = "{guest:loop-forever}"
[component.hello]
source = "{guest:hello}"
"#,
    )
    .env("SKIFF_WORKERS", "1")
    .env("SKIFF_MAX_INSTANCES", "200")
    .env("SKIFF_DRAIN_TIMEOUT", "1s")
    .start();
    assert_eq!(skiff.get("/hello").status, 200);
    let looping = ask(&skiff, "/loop", 100);
    let slowest = slowest_probe(&skiff);
    assert_eq!(skiff.get("/hello").status, 200);
    eprintln!("the slowest probe took {slowest:?}");
    let told = Instant::now();
    let ended = skiff.stop();
    eprintln!("it ended {:?} after the signal", told.elapsed());
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    drop(looping);
}

#[test]
fn a_component_that_everybody_asks_for_leaves_the_others_instances() {
    let skiff = Skiff::manifest(TWO)
        .env("SKIFF_WORKERS", "1")
        .env("SKIFF_MAX_INSTANCES", "4")
        .env("SKIFF_QUEUE_TIMEOUT", "500ms")
        .start();
    let waiting = ask(&skiff, "/one?ms=20000", 10);
    // The first seven received nothing in time, which shows that all others did.
    let turned_away = waiting.into_iter().skip(3).map(|mut stream| {
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        String::from_utf8_lossy(&head).into_owned()
    });
    let turned_away: Vec<_> = turned_away.collect();
    assert!(
        turned_away.iter().all(|head| head.ends_with("503")),
        "{turned_away:?}"
    );
    for _ in 0..3 {
        assert_eq!(skiff.get("/other?ms=1").status, 200);
    }
}

#[test]
fn instances_that_wait_for_requests_in_vain_are_for_other_components() {
    let skiff = Skiff::manifest(TWO)
        .env("SKIFF_WORKERS", "1")
        .env("SKIFF_INSTANCE_REUSE", "true")
        .env("SKIFF_IDLE_INSTANCE_TIMEOUT", "100ms")
        .env("SKIFF_MAX_INSTANCES", "4")
        .env("SKIFF_QUEUE_TIMEOUT", "1s")
        .start();
    let three = |path: &str| {
        let asked = ask(&skiff, path, 3).into_iter().map(|mut stream| {
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            String::from_utf8_lossy(&head).into_owned()
        });
        asked.collect::<Vec<_>>()
    };
    assert_eq!(three("/one?ms=300"), ["HTTP/1.1 200"; 3]);
    std::thread::sleep(Duration::from_secs(1));
    // Without three instances, one request would exceed its time limit.
    assert_eq!(three("/other?ms=3000"), ["HTTP/1.1 200"; 3]);
}

#[test]
fn a_guest_that_opens_all_files_it_can_is_told_and_connections_are_accepted() {
    let skiff = Skiff::manifest(
        r#"
spin_manifest_version = 2
[application]
name = "files"
[[trigger.http]]
route = "/..."
component = "hoard"
[component.hoard]
source = "{guest:hoard}"
files = [{ source = "data", destination = "/" }]
"#,
    )
    .file("data/note.txt", "a note")
    .env("SKIFF_WORKERS", "1")
    .env("SKIFF_MAX_INSTANCE_FILES", "300")
    .start();
    let got = skiff.get("/?path=/note.txt&count=20000").text();
    let got: usize = got.trim().parse().unwrap();
    assert!((290..=300).contains(&got), "{got} files");
    assert_eq!(skiff.get(HEALTH).text(), "OK");
    let few = skiff.get("/?path=/note.txt&count=200").text();
    assert_eq!(few.trim(), "200");
    let errors = skiff.stop().stderr;
    assert_eq!(
        errors.matches("reached its limit of open files").count(),
        1,
        "{errors}"
    );
}

#[test]
fn what_a_guest_makes_the_host_hold_counts_against_its_limit() {
    let skiff = Skiff::component("hoard")
        .env("SKIFF_WORKERS", "1")
        .env("SKIFF_MAX_INSTANCE_MEMORY", "32Mi")
        .start();
    for what in ["fields", "bodies"] {
        let few = skiff.get(&format!("/?what={what}&count=20"));
        assert_eq!(few.text().trim(), "20");
        let many = skiff.get(&format!("/?what={what}&count=5000"));
        assert_eq!(many.status, 500, "{what}: {many:?}");
    }
    assert_eq!(skiff.get("/?what=fields&count=20").status, 200);
    let errors = skiff.stop().stderr;
    assert_eq!(errors.matches("the host holds").count(), 2, "{errors}");
}

#[test]
fn guests_at_work_after_their_answer_do_not_double_the_drain_limit() {
    let skiff = Skiff::component("works-after-answer")
        .env("SKIFF_WORKERS", "1")
        .env("SKIFF_DRAIN_TIMEOUT", "2s")
        .start();
    let mut streams = ask(&skiff, "/?ms=60000", 2);
    for stream in &mut streams {
        stream.read_exact(&mut [0]).unwrap();
    }
    let told = Instant::now();
    let ended = skiff.stop();
    eprintln!("it ended {:?} after the signal", told.elapsed());
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

/// The child processes of a process.
fn children(of: u32) -> Vec<i32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let text = std::fs::read_to_string(path).unwrap();
    text.split(' ')
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Kills a worker, as the kernel does when memory runs out.
fn kill(worker: i32) {
    // SAFETY: no pointers are passed; the worker is alive, so the process id is its own.
    unsafe { libc::kill(worker, libc::SIGKILL) };
}

#[test]
fn each_worker_that_is_lost_ends_all_with_a_reason() {
    for number in 0..3 {
        let mut skiff = Skiff::component("hello").env("SKIFF_WORKERS", "4").start();
        assert_eq!(skiff.get("/").status, 200);
        let workers = children(skiff.id());
        assert_eq!(workers.len(), 3);
        kill(workers[number]);
        let ended = skiff.wait();
        assert_eq!(ended.status.code(), Some(137), "{}", ended.stderr);
        let reason = format!(
            "skiff: worker process {} was ended by signal 9",
            workers[number]
        );
        assert!(ended.stderr.contains(&reason), "{}", ended.stderr);
    }
}

#[test]
fn a_worker_that_is_lost_ends_all_although_nobody_reads_why() {
    for _ in 0..3 {
        let (mut skiff, _stdout, _stderr) = Skiff::component("print-a-lot")
            .env("SKIFF_WORKERS", "3")
            .start_unread();
        // More than a pipe holds.
        assert_eq!(skiff.get("/?lines=10&length=50000").status, 200);
        kill(children(skiff.id())[1]);
        assert_eq!(skiff.wait().status.code(), Some(137));
    }
}

#[test]
fn a_worker_that_hears_nothing_keeps_nobody_from_ending() {
    let skiff = Skiff::component("hello")
        .env("SKIFF_WORKERS", "2")
        .env("SKIFF_DRAIN_TIMEOUT", "1s")
        .start();
    assert_eq!(skiff.get("/").status, 200);
    // SAFETY: no pointers are passed; the worker is alive, so the process id is its own.
    unsafe { libc::kill(children(skiff.id())[0], libc::SIGSTOP) };
    let told = Instant::now();
    let ended = skiff.stop();
    eprintln!("it ended {:?} after the signal", told.elapsed());
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("they are killed"), "{}", ended.stderr);
}
