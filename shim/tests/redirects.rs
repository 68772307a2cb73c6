//! Requests of old guests, whose redirects are followed and whose answers are read whole.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use support::relay::{app, start};

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
