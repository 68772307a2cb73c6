//! Requests that guests send to other machines.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use support::Skiff;
use support::relay::{BOTH, Server, app, start};

#[test]
fn a_request_reaches_what_was_granted_and_its_connection_is_used_again() {
    for guest in BOTH {
        let server = Server::start();
        let skiff = start(guest, "\"http://{{ host }}:*\"");
        for _ in 0..10 {
            let answer = skiff.post(&format!("/?url=http://{}/a?b", server.address), "ping");
            assert_eq!(answer.status, 203, "{guest}: {}", answer.text());
            assert!(answer.head.contains("x-of: server"), "{}", answer.head);
            let text = answer.text();
            assert!(text.starts_with("POST /a?b HTTP/1.1\r\n"), "{text}");
            assert!(
                text.contains(&format!("host: {}\r\n", server.address)),
                "{text}"
            );
            assert!(text.contains("ping"), "{text}");
        }
        assert_eq!(server.connections(), 1, "{guest}");
    }
}

#[test]
fn a_guest_is_told_why_an_answer_broke_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap_or(0);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
            if asked[..length].starts_with(b"GET /stalls") {
                open.push(stream);
            }
        }
    });
    let skiff = start("relay", "\"http://127.0.0.1:*\"");
    for (path, code) in [
        ("breaks", "ErrorCode::HttpProtocolError"),
        ("stalls", "ErrorCode::ConnectionReadTimeout"),
    ] {
        let asked = format!("/?whole=1&between=100&url=http://{address}/{path}");
        let answer = skiff.get(&asked);
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert_eq!(answer.text(), format!("{code} after 5\n"));
    }
}

#[test]
fn a_body_is_spliced_into_the_answer() {
    let server = Server::start();
    let manifest = format!(
        r#"
spin_manifest_version = 2
[application]
name = "forward"
[[trigger.http]]
route = "/..."
component = "web"
[component.web]
source = "{{guest:forward}}"
environment = {{ URL = "http://{0}/a?b" }}
allowed_outbound_hosts = ["http://{0}"]
"#,
        server.address
    );
    let answer = Skiff::manifest(&manifest).start().get("/");
    assert_eq!(answer.status, 203, "{}", answer.text());
    let text = answer.text();
    assert!(text.starts_with("GET /a?b HTTP/1.1\r\n"), "{text}");
}

/// What a guest has passed on comes through its instance, which has nothing else to do.
#[test]
fn an_answer_that_is_passed_on_is_whole_however_old_its_instance_is() {
    for guest in BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (had_first, goes_on) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                let _ = stream.write_all(format!("{head}5\r\nfirst\r\n").as_bytes());
                let _ = goes_on.recv();
                // Much longer than the instance is kept without work.
                std::thread::sleep(std::time::Duration::from_millis(300));
                let _ = stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n");
            }
        });
        let skiff = app(guest, "\"http://127.0.0.1:*\"")
            .env("SKIFF_IDLE_INSTANCE_TIMEOUT", "20ms")
            .start();
        let mut stream = skiff.connect();
        let asked =
            format!("GET /?url=http://{address}/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"first\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
        had_first.send(()).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(
            rest.ends_with("6\r\nsecond\r\n0\r\n\r\n"),
            "{guest}: {rest}"
        );

        let server = Server::start();
        let skiff = app(guest, "\"http://127.0.0.1:*\"")
            .env("SKIFF_MAX_INSTANCE_REUSE_COUNT", "1")
            .start();
        let url = format!("/?url=http://{}/", server.address);
        let ask = || skiff.post(&url, &"x".repeat(100_000));
        std::thread::scope(|scope| {
            let asked: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..25).all(|_| ask().whole)))
                .collect();
            for all in asked {
                assert!(all.join().unwrap(), "{guest}");
            }
        });
    }
}

#[test]
fn the_trace_of_a_request_is_passed_on() {
    for guest in BOTH {
        let server = Server::start();
        let skiff = start(guest, "\"http://127.0.0.1:*\"");
        let ask = |path: &str| {
            let trace = "traceparent: 00-aa-bb-01\r\ntracestate: c=d\r\n";
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: a\r\n{trace}connection: close\r\n\r\n");
            skiff.send(&request).text()
        };
        let path = format!("/?url=http://{}/", server.address);
        let text = ask(&path);
        assert!(
            text.contains("traceparent: 00-aa-bb-01\r\n"),
            "{guest}: {text}"
        );
        assert!(text.contains("tracestate: c=d\r\n"), "{guest}: {text}");
        let without = skiff.get(&path).text();
        assert!(!without.contains("trace"), "{guest}: {without}");
    }
}

#[test]
fn what_is_not_granted_is_denied_before_anything_is_sent_and_the_entry_is_told() {
    for guest in BOTH {
        let server = Server::start();
        let skiff = start(guest, "\"https://127.0.0.1:*\", \"http://127.0.0.1:1\"");
        let answer = skiff.get(&format!("/?url=http://{}/", server.address));
        assert_eq!(answer.status, 502, "{guest}");
        assert!(
            answer.text().contains("HttpRequestDenied"),
            "{}",
            answer.text()
        );
        assert_eq!(server.connections(), 0);
        let told = skiff.stop().stderr;
        let entry = format!(
            "add \"http://{}\" to the component's allowed_outbound_hosts",
            server.address
        );
        assert!(told.contains(&entry), "{told}");
    }
}

#[test]
fn a_scheme_counts_in_any_case_and_others_are_not_of_http() {
    let server = Server::start();
    let skiff = start("relay", "\"http://127.0.0.1:*\"");
    let ask = |url: &str| skiff.get(&format!("/?url={url}"));
    let shouted = ask(&format!("HTTP://{}/", server.address));
    assert_eq!(shouted.status, 203, "{}", shouted.text());
    for (url, code) in [
        ("ftp://127.0.0.1/", "HttpRequestUriInvalid"),
        ("HTTPS://127.0.0.1/", "HttpRequestDenied"),
        ("http://self/headers", "HttpRequestDenied"),
    ] {
        let answer = ask(url);
        assert_eq!(answer.status, 502, "{url}");
        assert!(answer.text().contains(code), "{}", answer.text());
    }
    let told = skiff.stop().stderr;
    assert_eq!(
        told.matches("add \"https://127.0.0.1\" to").count(),
        1,
        "{told}"
    );
    assert!(
        told.contains("the host `self` is not this application"),
        "{told}"
    );
}

#[test]
fn what_is_wrong_with_files_and_names_for_tls_is_a_line_of_the_log() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("/?url=https://{}/", listener.local_addr().unwrap());
    // It ends every connection.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let skiff = app("relay", "\"https://127.0.0.1:*\"").env("SSL_CERT_FILE", "/no/such-file.pem");
    let skiff = skiff.start();
    assert_eq!(skiff.get(&url).status, 502);
    let told = skiff.stop().stderr;
    assert!(told.contains("file=/no/such-file.pem"), "{told}");

    let rule = "[[client_tls]]\ncomponent_ids = ['web', 'wbe', 'hidden']\nhosts = ['127.0.0.1']\nca_roots_file = 'empty.pem'\n";
    let skiff = app("relay", "\"https://127.0.0.1:*\"")
        .file("empty.pem", "")
        .file("limits.toml", rule);
    let file = skiff.folder().join("limits.toml");
    let skiff = skiff.args(&["--runtime-config-file", file.to_str().unwrap()]);
    let skiff = skiff.start();
    assert_eq!(skiff.get(&url).status, 502);
    let told = skiff.stop().stderr;
    assert!(
        told.contains("There is no certificate authority in this file"),
        "{told}"
    );
    assert!(told.contains("/empty.pem"), "{told}");
    let unknown: Vec<_> = told
        .lines()
        .filter(|line| line.contains("An entry of client_tls"))
        .collect();
    assert_eq!(unknown.len(), 1, "{told}");
    assert!(unknown[0].contains("component_id=wbe"), "{told}");
}

#[test]
fn every_failure_has_the_error_code_of_its_own() {
    let server = Server::start();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let cases = [
        (format!("http://{free}/"), "ConnectionRefused"),
        ("http://nobody.invalid/".to_owned(), "DnsError"),
        (
            format!("http://{}/never&first=50", server.address),
            "ConnectionReadTimeout",
        ),
        (
            "http://169.254.169.254/".to_owned(),
            "DestinationIpProhibited",
        ),
    ];
    let skiff = app("relay", "\"*://*:*\"")
        .env("SKIFF_BLOCKED_NETWORKS", "link-local")
        .start();
    for (url, expected) in cases {
        let answer = skiff.get(&format!("/?url={url}"));
        assert_eq!(answer.status, 502, "{url}");
        assert!(answer.text().contains(expected), "{url}: {}", answer.text());
    }
}

#[test]
fn the_operator_limits_how_long_a_guest_may_wait() {
    for guest in BOTH {
        let server = Server::start();
        let skiff = app(guest, "\"http://127.0.0.1:*\"")
            .env("SKIFF_OUTBOUND_TIMEOUT", "50ms")
            .start();
        let answer = skiff.get(&format!(
            "/?url=http://{}/never&first=600000",
            server.address
        ));
        assert!(
            answer.text().contains("ConnectionReadTimeout"),
            "{guest}: {}",
            answer.text()
        );
    }
}
