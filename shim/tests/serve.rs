//! What guests answer, and what happens to those that do not, through `skiff run`.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use support::{Answer, HEALTH, Running, Skiff, answer};

fn ask(guest: &str, path: &str) -> Answer {
    Skiff::component(guest).start().get(path)
}

#[test]
fn hello_says_hello_with_a_length() {
    let answer = ask("hello", "/");
    assert_eq!(answer.text(), "Hello from Wasm\n");
    assert!(
        answer.head.contains("content-length: 16"),
        "{}",
        answer.head
    );
}

#[test]
fn every_request_has_an_instance_of_its_own() {
    let skiff = Skiff::component("count").start();
    assert_eq!(skiff.get("/").text().trim(), "1");
    assert_eq!(skiff.get("/").text().trim(), "1");
}

#[test]
fn an_instance_is_reused_when_asked() {
    let skiff = Skiff::component("count")
        .env("SKIFF_INSTANCE_REUSE", "true")
        .env("SKIFF_WORKERS", "1")
        .start();
    assert_eq!(skiff.get("/").text().trim(), "1");
    assert_eq!(skiff.get("/").text().trim(), "2");
}

#[test]
fn a_wasi_0_3_instance_serves_several_requests() {
    let skiff = Skiff::component("p3-count")
        .env("SKIFF_WORKERS", "1")
        .start();
    let first = skiff.get("/").text();
    let second = skiff.get("/").text();
    assert!(first.starts_with("taken 1 "), "{first}");
    assert!(second.starts_with("taken 2 "), "{second}");
}

#[test]
fn a_wasi_0_3_instance_serves_requests_at_once() {
    let skiff = Skiff::component("p3-count")
        .env("SKIFF_WORKERS", "1")
        .start();
    let round = || -> Vec<String> {
        std::thread::scope(|scope| {
            let ask = || scope.spawn(|| skiff.get("/?ms=200").text());
            let asked: Vec<_> = (0..4).map(|_| ask()).collect();
            asked.into_iter().map(|a| a.join().unwrap()).collect()
        })
    };
    // The first requests find no instance and get one each; later ones share them.
    let at_once = |answer: &String| !answer.trim().ends_with(" 1");
    assert!((0..20).any(|_| round().iter().any(at_once)));
}

#[test]
fn bodies_and_trailers_come_back_through_wasi_0_3() {
    let skiff = Skiff::component("p3-echo").start();
    assert_eq!(skiff.post("/", "some bytes").text(), "some bytes");
}

#[test]
fn a_body_is_echoed_while_it_is_sent() {
    echoed_while_it_is_sent("echo");
}

/// Also when the guest has nothing to do meanwhile, as it has passed the body on.
#[test]
fn a_body_is_echoed_through_wasi_0_3_while_it_is_sent() {
    echoed_while_it_is_sent("p3-echo");
}

fn echoed_while_it_is_sent(guest: &str) {
    let skiff = Skiff::component(guest)
        .env("SKIFF_IDLE_INSTANCE_TIMEOUT", "20ms")
        .start();
    let mut stream = skiff.connect();
    let head =
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"5\r\nfirst\r\n").unwrap();
    let mut seen = Vec::new();
    while !seen.windows(5).any(|w| w == b"first") {
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
    // Much longer than an idle instance is kept.
    std::thread::sleep(Duration::from_millis(300));
    stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").unwrap();
    let rest = answer(stream);
    assert!(String::from_utf8_lossy(&rest.body).contains("second") || rest.head.contains("second"));
}

#[test]
fn trailers_reach_the_guest_and_come_back() {
    let skiff = Skiff::component("trailers").start();
    let answer = skiff.send(
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n",
    );
    assert_eq!(answer.status, 200, "{}", answer.head);
}

#[test]
fn a_hundred_megabytes_go_down_and_up() {
    let skiff = Skiff::component("stream-down")
        .env("SKIFF_WORKERS", "1")
        .start();
    let answer = skiff.get("/?bytes=104857600");
    assert_eq!(answer.body.len(), 100 << 20);
    assert!(answer.whole);
    let skiff = Skiff::component("stream-up").start();
    let answer = skiff.post("/", &"x".repeat(100 << 20));
    assert_eq!(answer.text().trim(), (100 << 20).to_string());
}

#[test]
fn a_trap_is_500_and_a_log_line_and_hurts_nobody_else() {
    let skiff = Skiff::component("trap").start();
    for how in ["panic", "unreachable", "memory"] {
        assert_eq!(skiff.get(&format!("/?how={how}")).status, 500);
    }
    let ended = skiff.stop();
    assert_eq!(ended.status.code(), Some(0));
    assert!(
        ended.stderr.contains("guests/trap.wasm\""),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("unreachable"), "{}", ended.stderr);
}

#[test]
fn a_trap_after_the_head_cuts_the_body() {
    let answer = ask("trap-after-head", "/");
    assert!(answer.status == 500 || !answer.whole, "{answer:?}");
}

#[test]
fn no_answer_is_500() {
    assert_eq!(ask("never-answer", "/").status, 500);
    assert_eq!(ask("error-answer", "/").status, 500);
}

#[test]
fn a_second_answer_hurts_only_its_own_request() {
    let skiff = Skiff::component("answer-twice").start();
    for _ in 0..2 {
        let status = skiff.get("/").status;
        assert!(status == 200 || status == 500, "{status}");
    }
}

/// Answers that break off at any size are incomplete, and each is logged.
fn breaks_off(guest: &str, ways: &[&str]) {
    let skiff = Skiff::component(guest).start();
    let mut cut = 0;
    for way in ways {
        for bytes in [1, 100, 4096, 4097, 70_000] {
            let answer = skiff.get(&format!("/?bytes={bytes}&{way}"));
            assert!(
                answer.status == 500 || answer.status == 200 && !answer.whole,
                "{way} {bytes}: {answer:?}"
            );
            cut += 1;
        }
    }
    let ended = skiff.stop();
    let lines = ended.stderr.matches("ERROR").count();
    assert_eq!(lines, cut, "{}", ended.stderr);
}

#[test]
fn an_unfinished_body_is_cut_at_every_size_and_told() {
    breaks_off(
        "breaks-off",
        &[
            "how=0",
            "how=1",
            "how=2",
            "how=0&length=100000",
            "how=1&length=100000",
            "how=2&length=100000",
        ],
    );
}

#[test]
fn an_unfinished_body_of_wasi_0_3_is_cut_at_every_size_and_told() {
    breaks_off(
        "p3-breaks-off",
        &[
            "how=0",
            "how=1",
            "how=0&length=100000",
            "how=1&length=100000",
            "how=2&length=100000",
        ],
    );
}

#[test]
fn a_body_shorter_than_its_length_is_sent_and_cut() {
    let answer = ask("short-body", "/");
    assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"));
    assert!(!answer.whole, "{answer:?}");
}

#[test]
fn bodies_that_come_half_keep_no_instance() {
    let skiff = Skiff::component("echo")
        .env("SKIFF_MAX_INSTANCES", "2")
        .env("SKIFF_QUEUE_TIMEOUT", "20s")
        .env("SKIFF_WORKERS", "1")
        .start();
    let half = |head: &str| {
        let mut stream = skiff.connect();
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{head}");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let small: Vec<_> = (0..20)
        .map(|_| half("content-length: 10\r\n\r\nhalf"))
        .collect();
    assert_eq!(skiff.post("/", "whole").text(), "whole");
    // Chunked bodies that have begun are conversations, which give way.
    let begun: Vec<_> = (0..20)
        .map(|_| half("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"))
        .collect();
    assert_eq!(skiff.post("/", "whole").text(), "whole");
    drop((small, begun));
}

#[test]
fn a_broken_chunk_is_the_clients_and_no_trap() {
    let skiff = Skiff::component("stream-up").start();
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in ["xyz\r\n", "1\r\na\r\nxyz\r\n"] {
        assert_eq!(skiff.send(&format!("{head}{body}")).status, 400, "{body:?}");
    }
    let ended = skiff.stop();
    assert!(!ended.stderr.contains("trap"), "{}", ended.stderr);
    assert!(ended.stderr.contains("broke off"), "{}", ended.stderr);
}

#[test]
fn what_is_against_the_rules_of_http_is_a_line_of_the_log_with_the_reason() {
    let skiff = Skiff::component("hello").env("SKIFF_WORKERS", "1").start();
    let refusals = [
        ("GET / HTTP/1.1\r\n\r\n", "the request has no host"),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "the request has more than one host",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
            "the request's host is not valid",
        ),
        (
            "GET / HTTP/1.1\r\nhost: other.spin.internal\r\n\r\n",
            "a name for requests inside the application",
        ),
        ("GET / HTTP/1.1\r\nno header\r\n\r\n", "header"),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
            "content-length",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n12",
            "content-length",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "chunked",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\n",
            "closed before message completed",
        ),
    ];
    for (request, reason) in refusals {
        let mut stream = skiff.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(stream).status, 400, "{reason}: {request:?}");
    }
    let ended = skiff.stop();
    let lines = ended.stderr.lines();
    let lines: Vec<_> = lines.filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(lines.len(), refusals.len(), "{}", ended.stderr);
    for ((request, reason), line) in refusals.iter().zip(lines) {
        assert!(line.contains("request refused"), "{request:?}: {line}");
        assert!(line.contains(reason), "{request:?}: {line}");
    }
}

#[test]
fn a_wasi_0_3_guest_that_fails_is_answered_for() {
    let skiff = Skiff::component("p3-fail")
        .env("SKIFF_REQUEST_TIMEOUT", "1s")
        .start();
    assert_eq!(skiff.get("/?how=0").status, 500);
    assert_eq!(skiff.get("/?how=1").status, 500);
    assert_eq!(skiff.get("/?how=2").status, 504);
    assert_eq!(skiff.get("/?how=3").status, 504);
    assert_eq!(skiff.get(HEALTH).status, 200);
}

#[test]
fn bytes_of_a_header_reach_guests_as_they_are() {
    for guest in ["headers", "p3-headers"] {
        let skiff = Skiff::component(guest).start();
        let mut stream = skiff.connect();
        let request =
            b"GET / HTTP/1.1\r\nhost: a\r\nx-raw: caf\xe9 \xff\r\nconnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let text = answer(stream).text();
        assert!(text.contains("x-raw: caf\\xe9 \\xff\n"), "{guest}: {text}");
    }
}

/// Page faults of its child processes that have ended: 0 if there were none.
fn pages_of_children(skiff: &Running) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", skiff.id())).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    fields.split_whitespace().nth(8).unwrap().parse().unwrap()
}

#[test]
fn a_start_whose_code_is_there_needs_no_other_process() {
    let cache = tempfile::tempdir().unwrap();
    let start = || {
        let skiff =
            Skiff::component("hello").env("SKIFF_CACHE_DIR", cache.path().to_str().unwrap());
        let skiff = skiff.start();
        assert_eq!(skiff.get("/").status, 200);
        pages_of_children(&skiff)
    };
    assert_ne!(start(), 0);
    assert_eq!(start(), 0);
}
