//! Clients: whatever one sends, the next one is served.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use skiff_hostile::{Server, Skiff, guest};

fn serve(name: &str, settings: &[(&str, &str)]) -> Server {
    let mut skiff = Skiff::run(guest(name))
        .shared_cache()
        .env("SKIFF_WORKERS", "1")
        .env("SKIFF_HEADER_READ_TIMEOUT", "1s");
    for (name, value) in settings {
        skiff = skiff.env(name, value);
    }
    skiff.serve()
}

#[test]
fn bytes_that_are_no_request_hurt_nobody() {
    let server = serve("echo", &[]);
    let long = "x".repeat(200_000);
    let mut many = "GET / HTTP/1.1\r\nhost: a\r\n".to_owned();
    for n in 0..5000 {
        many += &format!("h{n}: v\r\n");
    }
    let cases: Vec<Vec<u8>> = vec![
        vec![],
        vec![0; 4096],
        vec![0xff; 100_000],
        b"\r\n\r\n\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\nhost: a\n\n".to_vec(),
        format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes(),
        format!("{long} / HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes(),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n").into_bytes(),
        many.into_bytes(),
        b"GET / HTTP/1.1\r\nhost: a\r\n folded: 1\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: a\r\nbad name: 1\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 2\r\n\r\nab".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"
            .to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 64]].concat(),
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
    ];
    for case in &cases {
        let answer = server.send(case);
        let shown = String::from_utf8_lossy(&case[..case.len().min(60)]);
        assert!(answer.status < 500, "{shown:?} gets {}", answer.status);
        server.is_healthy();
    }
    let echo = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
    // With a length or in chunks, depending on timing.
    let rest = server.send(echo.as_bytes()).rest;
    assert!(rest.windows(2).any(|part| part == b"hi"), "{rest:?}");
    let (_, status, said) = server.stop();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn connections_that_say_nothing_leave_room() {
    let server = serve("hello", &[("SKIFF_MAX_CONNECTIONS", "20")]);
    let mut silent: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for stream in silent.iter_mut().skip(30) {
        stream.write_all(b"GET / HT").ok();
    }
    server.is_healthy();
    assert!(server.is_served_soon());
    drop(silent);
}

#[test]
fn connections_that_idle_after_an_answer_leave_room() {
    let server = serve("hello", &[("SKIFF_MAX_CONNECTIONS", "20")]);
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut stream = server.connect();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        idle.push(stream);
    }
    server.is_healthy();
    assert!(server.is_served_soon());
}

#[test]
fn bodies_that_are_never_finished_leave_room_for_others() {
    let server = serve("echo", &[("SKIFF_MAX_INSTANCES", "10")]);
    let mut half: Vec<_> = (0..40).map(|_| server.connect()).collect();
    for stream in &mut half {
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf";
        stream.write_all(head).expect("sent");
    }
    server.is_healthy();
    let echo = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(server.send(echo.as_bytes()).rest, b"hi");
}

#[test]
fn clients_that_leave_in_the_middle_leave_nothing() {
    let server = serve("stream-down", &[("SKIFF_MAX_INSTANCES", "10")]);
    for _ in 0..40 {
        let mut stream = server.connect();
        let head = b"GET /?bytes=10000000 HTTP/1.1\r\nhost: a\r\n\r\n";
        stream.write_all(head).expect("sent");
        let mut some = [0; 100];
        stream.read_exact(&mut some).expect("an answer begins");
    }
    let whole = server.get("/?bytes=1000");
    assert_eq!((whole.status, whole.rest.len()), (200, 1000));
}

#[test]
fn no_connection_keeps_the_stop_waiting() {
    const BODY: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf";
    const FILES: &[u8] = b"GET /?path=/&count=5000 HTTP/1.1\r\nhost: a\r\n\r\n";
    const DRAIN: Duration = Duration::from_secs(1);
    // Answered, and then idle: keep-alive connections, and HTTP/2.
    let whole = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let prior: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let many: &[u8] = b"GET /?bytes=100000000 HTTP/1.1\r\nhost: a\r\n\r\n";
    let cases: [(&str, &str, &[u8]); 8] = [
        ("silent", "hello", b""),
        ("half a head", "hello", b"GET / HTTP/1.1\r\nho"),
        ("idle", "hello", whole),
        ("idle HTTP/2", "hello", prior),
        ("half a body", "echo", BODY),
        ("an answer that is not read", "stream-down", many),
        ("guests that hoard descriptors", "hoard", FILES),
        ("guests that never answer", "hang", whole),
    ];
    for (what, guest, bytes) in cases {
        let settings = [
            ("SKIFF_DRAIN_TIMEOUT", "1s"),
            ("SKIFF_SHUTDOWN_DELAY", "0s"),
        ];
        let server = serve(guest, &settings);
        let mut held: Vec<_> = (0..50).map(|_| server.connect()).collect();
        for stream in &mut held {
            stream.write_all(bytes).expect("sent");
        }
        server.is_healthy();
        let (took, status, said) = server.stop();
        eprintln!("{what}: it ended {took:?} after the signal");
        assert_eq!(status.code(), Some(0), "{what}: {said}");
        // The limit and a second, as a busy machine may be late.
        assert!(took < DRAIN * 4, "{what}: {took:?}");
        drop(held);
    }
}
