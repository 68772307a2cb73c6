//! Guests of release candidates of WASI.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use support::{Running, Skiff};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

const FIRST: &str = "wasi-2023-10-18";
const SECOND: &str = "wasi-2023-11-10";

fn app(guest: &str, hosts: &str) -> Skiff {
    Skiff::manifest(&format!(
        r#"spin_manifest_version = 2
[application]
name = "a"
[[trigger.http]]
route = "/..."
component = "old"
[[trigger.http]]
route = {{ private = true }}
component = "headers"
[component.old]
source = "{{guest:{guest}}}"
allowed_outbound_hosts = [{hosts}]
files = [{{ source = "files", destination = "/" }}]
[component.headers]
source = "{{guest:headers}}"
"#
    ))
    .file("files/greeting", "hello")
}

fn start(guest: &str, hosts: &str) -> Running {
    app(guest, hosts).start()
}

/// A component that imports every function of a candidate, and exports its handler.
fn everything(version: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let file = support::root().join(format!("tests/fixtures/wit/{version}.wit"));
    let package = resolve.push_file(file).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().validate(true);
    encoder.module(&module).unwrap().encode().unwrap()
}

#[test]
fn every_function_of_a_candidate_is_there() {
    for version in [FIRST, SECOND] {
        let skiff = app("hello", "");
        fs::write(skiff.folder().join("hello.wasm"), everything(version)).unwrap();
        // It is made of nothing but its imports, and traps when it is called.
        assert_eq!(skiff.start().get("/").status, 500, "{version}");
    }
}

#[test]
fn a_guest_of_a_candidate_answers() {
    let skiff = start(FIRST, "");
    let got = skiff.get("/a/b?c=d");
    assert_eq!(got.status, 200, "{}", got.text());
    assert!(got.head.contains("x-candidate: 2023-10-18"), "{}", got.head);
    assert!(
        got.text().starts_with("Method::Get /a/b?c=d\n"),
        "{}",
        got.text()
    );
    assert!(
        got.text().contains("spin-path-info: /a/b"),
        "{}",
        got.text()
    );
    // It waits for the shorter of two times.
    assert_eq!(skiff.get("/?op=wait").text(), "[1]");
    assert_eq!(skiff.get("/?op=error").status, 500);
    let ended = skiff.stop();
    assert!(ended.stderr.contains("mine"), "{}", ended.stderr);
}

/// A request with a body in chunks, and a trailer.
fn with_trailer(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nte: trailers\r\n\
         trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n4\r\nping\r\n0\r\nx-sum: abc\r\n\r\n"
    )
}

#[test]
fn a_body_is_forwarded_with_its_trailers() {
    for (guest, count) in [(FIRST, "x-count: 4"), (SECOND, "")] {
        let skiff = start(guest, "");
        let mut stream = skiff.connect();
        let request = with_trailer("/?op=echo");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        for part in ["ping", "x-sum: abc", count] {
            assert!(text.contains(part), "{guest}: {text}");
        }
    }
}

/// A server that answers requests for `/never` never, and others with their head.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap_or(0);
            let head = String::from_utf8_lossy(&asked[..length]).into_owned();
            if head.contains(" /never") {
                kept.push(stream);
                continue;
            }
            let answer = format!(
                "HTTP/1.1 203 Fine\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{head}",
                head.len()
            );
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    address
}

#[test]
fn a_guest_of_a_candidate_sends_requests() {
    let server = server();
    for guest in [FIRST, SECOND] {
        let hosts = "\"http://127.0.0.1:*\", \"http://headers.spin.internal\"";
        let skiff = start(guest, hosts);
        let ask = |url: &str| skiff.get(&format!("/?op=relay&first=50&url={url}"));
        let got = ask(&format!("http://{server}/a"));
        assert_eq!(got.status, 203, "{guest}: {}", got.text());
        assert!(
            got.text().starts_with("GET /a HTTP/1.1\r\n"),
            "{}",
            got.text()
        );
        let got = ask("http://headers.spin.internal/a");
        assert!(
            got.text().contains("spin-path-info: /a"),
            "{guest}: {}",
            got.text()
        );
        for (url, first, second) in [
            (
                format!("http://{server}/never"),
                "Error::TimeoutError",
                "ConnectionReadTimeout",
            ),
            (
                "http://other.test/".to_owned(),
                "Error::UnexpectedError(\"the destination is not allowed\")",
                "HttpRequestDenied",
            ),
            (
                "http://127.0.0.1:x/".to_owned(),
                "Error::InvalidUrl",
                "HttpRequestUriInvalid",
            ),
        ] {
            let expected = if guest == FIRST { first } else { second };
            if guest == SECOND && url.ends_with(":x/") {
                // Its setter refuses it.
                continue;
            }
            let got = ask(&url);
            assert_eq!(got.status, 502, "{guest} {url}: {}", got.text());
            assert!(
                got.text().contains(expected),
                "{guest} {url}: {}",
                got.text()
            );
        }
    }
}

#[test]
fn a_header_that_a_guest_cannot_set_traps_where_there_is_no_error_for_it() {
    let skiff = start(FIRST, "");
    assert_eq!(skiff.get("/?op=forbidden").status, 500);
    assert_eq!(skiff.get("/").status, 200);
    let ended = skiff.stop();
    let told = "changes a header that it cannot change";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

#[test]
fn a_guest_of_a_candidate_reads_its_files() {
    let skiff = start(FIRST, "");
    assert_eq!(
        skiff.get("/?op=file&path=greeting").text(),
        "Ok(()) Ok((\"hello\", Err(unsupported)))"
    );
    assert_eq!(
        skiff.get("/?op=file&path=../x").text(),
        "Err(not-permitted) Err(not-permitted)"
    );
}

#[test]
fn a_guest_of_a_candidate_uses_sockets() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (to_tcp, to_udp) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(b"pong").unwrap();
        }
    });
    std::thread::spawn(move || {
        let mut asked = [0; 4];
        while let Ok((_, from)) = udp.recv_from(&mut asked) {
            udp.send_to(b"pong", from).unwrap();
        }
    });
    let skiff = start(
        FIRST,
        "\"tcp://127.0.0.1:*\", \"udp://127.0.0.1:*\", \"tcp://localhost:1\"",
    );
    for _ in 0..3 {
        assert_eq!(
            skiff.get(&format!("/?op=tcp&to={to_tcp}")).text(),
            "Ok(\"pong\")"
        );
        assert_eq!(
            skiff.get(&format!("/?op=udp&to={to_udp}")).text(),
            "Ok(\"pong\")"
        );
    }
    for op in ["tcp", "udp"] {
        let denied = skiff.get(&format!("/?op={op}&to=127.0.0.2:7")).text();
        assert_eq!(denied, "Err(access-denied)", "{op}");
    }
    assert_eq!(skiff.get("/?op=names&name=localhost").text(), "Ok(1)");
    assert_eq!(
        skiff.get("/?op=names&name=other.test").text(),
        "Err(permanent-resolver-failure)"
    );
}

#[test]
fn sockets_of_version_6_take_no_part_in_version_4() {
    let skiff = start(SECOND, "\"tcp://[::1]:1\"");
    assert_eq!(
        skiff.get("/?op=sockets").text(),
        "Ok(true) Ok(()) Err(not-supported) Err(not-supported)"
    );
}
