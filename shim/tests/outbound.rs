//! Requests that guests send: to other machines, to other components, and to themselves.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use support::{Running, Skiff};

/// A server that answers every request with its head and body, and remembers how many
/// connections it had.
struct Server {
    address: SocketAddr,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<usize>>::default();
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *count.lock().unwrap() += 1;
                std::thread::spawn(move || answer(stream));
            }
        });
        Server {
            address,
            connections,
        }
    }

    fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

fn answer(mut stream: TcpStream) -> Option<()> {
    loop {
        let mut asked = Vec::new();
        let mut piece = [0; 4096];
        // A request without a body ends with its head, one with a body in its last chunk.
        let is_whole = |asked: &[u8]| {
            let text = String::from_utf8_lossy(asked).into_owned();
            let (head, body) = text.split_once("\r\n\r\n")?;
            (!head.contains("chunked") || body.ends_with("0\r\n\r\n")).then_some(text)
        };
        let text = loop {
            if let Some(text) = is_whole(&asked) {
                break text;
            }
            match stream.read(&mut piece).ok()? {
                0 => return None,
                length => asked.extend(&piece[..length]),
            }
        };
        // It never answers a request for this path.
        if text.contains(" /never ") {
            std::thread::sleep(std::time::Duration::from_secs(600));
        }
        let length = text.len();
        let head = format!("HTTP/1.1 203 Fine\r\nx-of: server\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{text}").as_bytes()).ok()?;
    }
}

/// An application with a component `web` at `/`, another at `/headers`, and a private one.
fn app(guest: &str, hosts: &str) -> Skiff {
    Skiff::manifest(&format!(
        r#"spin_manifest_version = 2
[application]
name = "a"
[variables]
host = {{ default = "127.0.0.1" }}
[[trigger.http]]
route = "/..."
component = "web"
[[trigger.http]]
route = "/headers"
component = "headers"
[[trigger.http]]
route = {{ private = true }}
component = "hidden"
[component.web]
source = "{{guest:{guest}}}"
allowed_outbound_hosts = [{hosts}]
[component.headers]
source = "{{guest:headers}}"
[component.hidden]
source = "{{guest:relay}}"
allowed_outbound_hosts = ["http://headers.spin.internal", "http://web.spin.internal"]
"#
    ))
    .env("SKIFF_WORKERS", "1")
}

fn start(guest: &str, hosts: &str) -> Running {
    app(guest, hosts).start()
}

const BOTH: [&str; 2] = ["relay", "p3-relay"];

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

#[test]
fn three_components_call_each_other_without_a_socket() {
    for guest in BOTH {
        let skiff = start(guest, "\"http://*.spin.internal\"");
        let answer = skiff.post(
            "/?url=http://hidden.spin.internal/?url=http://headers.spin.internal/x/y?z",
            "ping",
        );
        let text = answer.text();
        assert_eq!(answer.status, 200, "{guest}: {text}");
        for line in [
            ":method Method::Post",
            "spin-path-info: /x/y",
            "spin-matched-route: /...",
            "spin-component-route: \n",
            "spin-raw-component-route: /...",
            "spin-client-addr: 0.0.0.0:0",
            "spin-full-url: http://localhost/x/y?z",
        ] {
            assert!(text.contains(line), "{guest}: {line}: {text}");
        }
    }
}

#[test]
fn a_component_that_does_not_exist_traps_its_caller() {
    for guest in BOTH {
        let skiff = start(guest, "\"http://*.spin.internal\"");
        assert_eq!(skiff.get("/?url=http://nobody.spin.internal/").status, 500);
        let denied = skiff.get("/?url=https://headers.spin.internal/");
        assert!(
            denied.text().contains("HttpRequestDenied"),
            "{}",
            denied.text()
        );
        let told = skiff.stop().stderr;
        assert!(told.contains("runs a component `nobody`"), "{told}");
    }
}

#[test]
fn a_component_that_fails_answers_its_caller_with_500() {
    let text = r#"spin_manifest_version = 2
[application]
name = "a"
[[trigger.http]]
route = "/..."
component = "web"
[[trigger.http]]
route = { private = true }
component = "broken"
[component.web]
source = "{guest:relay}"
allowed_outbound_hosts = ["http://broken.spin.internal"]
[component.broken]
source = "{guest:trap}"
"#;
    let skiff = Skiff::manifest(text).start();
    assert_eq!(skiff.get("/?url=http://broken.spin.internal/").status, 500);
    let told = skiff.stop().stderr;
    assert!(told.contains("component_id=\"broken\""), "{told}");
}

#[test]
fn a_loop_of_components_ends_with_an_error() {
    for guest in BOTH {
        let skiff = start(guest, "\"http://*.spin.internal\"");
        let url = "http://hidden.spin.internal/?url=http://web.spin.internal/?url=".repeat(12);
        let answer = skiff.get(&format!("/?url={url}http://headers.spin.internal/"));
        assert_eq!(answer.status, 502, "{guest}");
        assert!(
            answer.text().contains("LoopDetected"),
            "{guest}: {}",
            answer.text()
        );
    }
}

#[test]
fn an_application_calls_itself_by_its_own_routes() {
    for guest in BOTH {
        let skiff = start(guest, "\"http://self\"");
        for url in ["/headers?x", "http://self.alt/headers?x"] {
            let answer = skiff.get(&format!("/?url={url}"));
            let text = answer.text();
            assert_eq!(answer.status, 200, "{guest} {url}: {text}");
            assert!(text.contains("spin-matched-route: /headers"), "{text}");
            assert!(text.contains("spin-client-addr: 127.0.0.1:"), "{text}");
        }
        let other = start(guest, "\"http://127.0.0.1:*\"").get("/?url=/headers");
        assert!(
            other.text().contains("HttpRequestDenied"),
            "{}",
            other.text()
        );
    }
}

/// A server that redirects to what the query of its request says, and else answers with the
/// head.
fn redirector() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            let Ok(length) = stream.read(&mut asked) else {
                continue;
            };
            let head = String::from_utf8_lossy(&asked[..length]).into_owned();
            let target = head.split(' ').nth(1).unwrap_or_default();
            let answer = match target.split_once('?') {
                Some((_, to)) => {
                    format!(
                        "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    )
                }
                None => {
                    let length = head.len();
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{head}"
                    )
                }
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_redirect_of_an_old_guest_is_followed_where_it_is_granted() {
    let (here, there) = (redirector(), redirector());
    let hosts = format!("\"http://{here}\", \"http://self\"");
    let skiff = start("fetch-v1", &hosts);
    let answer = skiff.post(&format!("/?url=http://{here}/a?/b"), "ping");
    let text = answer.text();
    assert_eq!(answer.status, 200, "{text}");
    assert!(text.contains("\nGET /b HTTP/1.1\r\n"), "{text}");
    assert!(text.contains("authorization: secret\r\n"), "{text}");
    assert!(text.contains("content-length: "), "{text}");
    for (url, error) in [
        (
            format!("http://{here}/a?http://{there}/b"),
            "destination-not-allowed",
        ),
        (format!("http://{there}/"), "destination-not-allowed"),
        // It leads to itself for ever.
        (
            format!("http://{here}/a?{}/b", "/a?".repeat(12)),
            "runtime-error",
        ),
        ("http://a%20b/".to_owned(), "invalid-url"),
    ] {
        let answer = skiff.get(&format!("/?url={url}"));
        assert_eq!(answer.status, 502, "{url}");
        assert!(answer.text().contains(error), "{url}: {}", answer.text());
    }
    let blocked = app("fetch-v1", "\"*://*:*\"")
        .env("SKIFF_BLOCKED_NETWORKS", "127.0.0.2/32")
        .start();
    let port = there.port();
    let answer = blocked.get(&format!("/?url=http://{here}/a?http://127.0.0.2:{port}/b"));
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.text().contains("runtime-error"), "{}", answer.text());
    // A path is the application's own.
    let own = skiff.get("/?url=/headers");
    assert!(
        own.text().contains("spin-matched-route: /headers"),
        "{}",
        own.text()
    );
}

/// A server whose answer never ends.
fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                let _ = stream.write_all(head.as_bytes());
                while stream.write_all(chunk.as_bytes()).is_ok() {}
            });
        }
    });
    address
}

#[test]
fn an_answer_without_an_end_has_one_for_who_wants_the_whole_of_it() {
    let address = endless();
    let url = format!("/?url=http://{address}/");
    let skiff = start("fetch-v1", "\"http://127.0.0.1:*\"");
    let answer = skiff.get(&url);
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("runtime-error"), "{}", answer.text());
    assert_eq!(skiff.get("/headers").status, 200);
    let told = skiff.stop().stderr;
    assert!(told.contains("is larger than 134217728 bytes"), "{told}");
    // What has come counts as the guest's memory.
    let skiff = app("fetch-v1", "\"http://127.0.0.1:*\"")
        .env("SKIFF_MAX_INSTANCE_MEMORY", "16Mi")
        .start();
    assert_eq!(skiff.get(&url).status, 500);
    assert_eq!(skiff.get("/headers").status, 200);
}
