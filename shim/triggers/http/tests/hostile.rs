//! Clients that send too much, too slowly, or nothing, and clients that leave.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use skiff_trigger_http::{BodyError, Failure, ResponseBody, SPARE_CONNECTIONS, Settings};
use support::*;
use tokio::sync::mpsc;

/// Short enough to be waited for, long enough for a busy machine.
const SHORT: Duration = Duration::from_millis(150);

fn short() -> Settings {
    Settings {
        header_timeout: SHORT,
        idle_timeout: SHORT,
        body_timeout: SHORT,
        write_timeout: SHORT,
        ..Settings::default()
    }
}

/// Reports what happened to each request body.
fn reads_bodies() -> (Fun, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let handler = fun(move |request| {
        let tell = tell.clone();
        async move {
            let read = request.into_body().collect().await;
            let text = read
                .as_ref()
                .map_or_else(ToString::to_string, |_| "read".to_owned());
            tell.send(text).unwrap();
            read?;
            Ok(Response::new("read".into()))
        }
    });
    (handler, told)
}

#[tokio::test]
async fn ten_thousand_headers_are_431() {
    let server = serve(says("hello"));
    let mut client = server.connect().await;
    let headers: String = (0..10_000).map(|n| format!("h{n}: v\r\n")).collect();
    client
        .send(format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n"))
        .await;
    assert_eq!(client.reply().await.status, 431);
    assert_eq!(server.get("/").await.text(), "hello");
}

#[tokio::test]
async fn a_header_line_of_100_kb_is_431() {
    let server = serve(says("hello"));
    let mut client = server.connect().await;
    client
        .send(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
            "y".repeat(100_000)
        ))
        .await;
    assert_eq!(client.reply().await.status, 431);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn headers_up_to_the_limit_pass() {
    for max_header_count in [100, 300] {
        let server = serve_with(
            &Settings {
                max_header_count,
                ..Settings::default()
            },
            vec![route("/...", "a", mirror())],
        );
        for (count, status) in [(max_header_count, 200), (max_header_count + 1, 431)] {
            let headers: String = (1..count).map(|n| format!("h{n}: v\r\n")).collect();
            let mut client = server.connect().await;
            client
                .send(format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n"))
                .await;
            assert_eq!(client.reply().await.status, status, "{count}");
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_400() {
    let server = serve(says("hello"));
    for bytes in [
        "\0\0\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "\x16\x03\x01\x02\0",
    ] {
        let mut client = server.connect().await;
        client.send(bytes).await;
        assert_eq!(client.reply().await.status, 400, "{bytes:?}");
    }
    assert_eq!(server.count(|counters| &counters.requests), 0);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_408() {
    let server = serve_with(&short(), vec![route("/...", "a", says("hello"))]);
    let mut client = server.connect().await;
    assert_eq!(client.get("/").await.text(), "hello");
    client.send("GET / HTTP/1.1\r\nhost").await;
    assert_eq!(client.reply().await.status, 408);
    assert_eq!(client.rest().await, "");
    assert_eq!(server.count(|counters| &counters.header_timeouts), 1);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_without_a_word() {
    let server = serve_with(&short(), vec![route("/...", "a", says("hello"))]);
    let mut silent = server.connect().await;
    assert_eq!(silent.rest().await, "");
    let mut resting = server.connect().await;
    assert_eq!(resting.get("/").await.text(), "hello");
    assert_eq!(resting.rest().await, "");
    assert_eq!(server.count(|counters| &counters.header_timeouts), 1);
    server
        .count_reaches(|counters| &counters.connections, 2)
        .await;
    until(|| server.count(|counters| &counters.open_connections) == 0).await;
}

#[tokio::test]
async fn a_head_may_come_in_single_bytes() {
    let server = serve(says("hello"));
    let mut client = server.connect().await;
    client.stream.set_nodelay(true).unwrap();
    for byte in b"PRO / HTTP/1.1\r\nhost: a\r\n\r\n" {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.reply().await.text(), "hello");
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_an_error_to_its_reader() {
    let (handler, mut told) = reads_bodies();
    let server = serve_with(&short(), vec![route("/...", "a", handler)]);
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf")
        .await;
    assert_eq!(client.reply().await.status, 408);
    assert_eq!(client.rest().await, "");
    assert_eq!(
        soon(told.recv()).await.unwrap(),
        BodyError::TimedOut.to_string()
    );
    assert_eq!(server.count(|counters| &counters.body_timeouts), 1);
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_read() {
    let (handler, mut told) = reads_bodies();
    let server = serve_with(&short(), vec![route("/...", "a", handler)]);
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n")
        .await;
    for byte in b"slowly" {
        tokio::time::sleep(SHORT / 3).await;
        client.send([*byte]).await;
    }
    assert_eq!(client.reply().await.text(), "read");
    assert_eq!(soon(told.recv()).await.unwrap(), "read");
}

#[tokio::test]
async fn a_client_that_leaves_half_way_cuts_its_body() {
    let (handler, mut told) = reads_bodies();
    let server = serve(handler);
    let bodies = [
        "content-length: 10\r\n\r\nhalf",
        "transfer-encoding: chunked\r\n\r\n5\r\nhal",
        "transfer-encoding: chunked\r\n\r\nxyz\r\n",
    ];
    for body in bodies {
        let mut client = server.connect().await;
        client
            .send(format!("POST / HTTP/1.1\r\nhost: a\r\n{body}"))
            .await;
        drop(client);
        assert_eq!(
            soon(told.recv()).await.unwrap(),
            "the body broke off",
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = fun(move |_| {
        let tell = tell.clone();
        async move {
            tell.send("began").unwrap();
            let _end = OnDrop(tell);
            std::future::pending().await
        }
    });
    // A client that has left looks like one that has finished sending.
    let settings = Settings {
        gone_timeout: SHORT,
        ..Settings::default()
    };
    let server = serve_with(&settings, vec![route("/...", "a", handler)]);
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(soon(told.recv()).await, Some("began"));
    drop(client);
    assert_eq!(soon(told.recv()).await, Some("dropped"));
    assert_eq!(server.count(|counters| &counters.gone_timeouts), 1);
}

/// Signals when it is dropped.
struct OnDrop(mpsc::UnboundedSender<&'static str>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.send("dropped").unwrap();
    }
}

/// Answers endlessly, and signals when the body is dropped.
fn endless() -> (Fun, mpsc::UnboundedReceiver<&'static str>) {
    let (tell, told) = mpsc::unbounded_channel();
    let handler = fun(move |_| {
        let end = Arc::new(OnDrop(tell.clone()));
        let frames = futures::stream::repeat_with(move || {
            let _held = &end;
            Ok(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])))
        });
        async { Ok(Response::new(ResponseBody::new(StreamBody::new(frames)))) }
    });
    (handler, told)
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let (handler, mut told) = endless();
    let server = serve_with(&short(), vec![route("/...", "a", handler)]);
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(soon(told.recv()).await, Some("dropped"));
    assert_eq!(server.count(|counters| &counters.write_timeouts), 1);
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let server = serve_with(
        &short(),
        vec![route(
            "/...",
            "a",
            fun(|_| async { Ok(Response::new(vec![b'x'; LENGTH].into())) }),
        )],
    );
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    // Altogether far longer than any timeout, with pauses far below them. Within one
    // timeout, less is read than has to be free before the server's socket becomes
    // writable.
    const READS: u32 = 128;
    for _ in 0..READS {
        tokio::time::sleep(SHORT / 16).await;
        client.take(LENGTH / READS as usize).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_drops_the_response() {
    let (handler, mut told) = endless();
    let server = serve(handler);
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.take(100_000).await;
    drop(client);
    assert_eq!(soon(told.recv()).await, Some("dropped"));
}

#[tokio::test]
async fn head_drops_a_response_that_nobody_wants() {
    let (handler, mut told) = endless();
    let server = serve(handler);
    let mut client = server.connect().await;
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(soon(told.recv()).await, Some("dropped"));
}

const HEALTH: &str = "/.well-known/spin/health";

/// Two connections at once, and a clock that ticks every ten milliseconds.
fn two_connections() -> Settings {
    Settings {
        max_connections: 2,
        body_timeout: Duration::from_millis(80),
        ..Settings::default()
    }
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_gives_way_to_a_new_one() {
    let server = serve_with(&two_connections(), vec![route("/...", "a", says("hello"))]);
    let mut first = server.connect().await;
    assert_eq!(first.get("/").await.text(), "hello");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut second = server.connect().await;
    assert_eq!(second.get("/").await.text(), "hello");
    let mut third = server.connect().await;
    assert_eq!(third.get("/").await.text(), "hello");
    assert_eq!(first.rest().await, "");
    assert_eq!(second.get("/").await.text(), "hello");
    assert_eq!(third.get("/").await.text(), "hello");
    assert_eq!(server.count(|counters| &counters.gave_way), 1);
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_out() {
    let server = serve_with(
        &Settings {
            max_connections: 2,
            ..Settings::default()
        },
        vec![route("/...", "a", says("hello"))],
    );
    let mut silent = Vec::new();
    for _ in 0..2 + SPARE_CONNECTIONS + 50 {
        let mut client = server.connect().await;
        client.send("GET /").await;
        silent.push(client);
    }
    assert_eq!(server.get(HEALTH).await.text(), "OK");
}

#[tokio::test]
async fn where_all_connections_have_requests_health_is_answered_and_others_are_told_to_come_back() {
    let handler = fun(|request| async move {
        match request.uri().path() {
            "/waits" => std::future::pending().await,
            _ => Ok(Response::new("hello".into())),
        }
    });
    let server = serve_with(&two_connections(), vec![route("/...", "a", handler)]);
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        client.send("GET /waits HTTP/1.1\r\nhost: a\r\n\r\n").await;
        busy.push(client);
    }
    server.count_reaches(|counters| &counters.requests, 2).await;
    for _ in 0..2 * SPARE_CONNECTIONS {
        let mut client = server.connect().await;
        let refused = client.get("/").await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(client.rest().await, "");
        assert_eq!(server.get(HEALTH).await.text(), "OK");
    }
    // A connection beyond the limit is served when there is room.
    let mut kept = server.connect().await;
    assert_eq!(kept.get(HEALTH).await.text(), "OK");
    busy.pop();
    until(|| server.count(|counters| &counters.open_connections) == 2).await;
    assert_eq!(kept.get("/").await.text(), "hello");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let (handler, mut told) = reads_bodies();
    let server = serve_with(
        &Settings {
            max_body_bytes: Some(10),
            ..Settings::default()
        },
        vec![route("/...", "a", handler)],
    );
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789")
        .await;
    assert_eq!(client.reply().await.text(), "read");
    assert_eq!(told.try_recv().unwrap(), "read");

    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\n\r\n{}",
            "x".repeat(2_000_000)
        ))
        .await;
    assert_eq!(client.reply().await.status, 413);
    assert_eq!(client.rest().await, "");
    assert_eq!(server.count(|counters| &counters.refused_bodies), 1);

    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 413);
    assert_eq!(told.try_recv().unwrap(), "the body is larger than 10 bytes");
}

#[tokio::test]
async fn an_answer_before_the_body_has_come_reaches_a_client_that_is_still_sending() {
    let server = serve(fun(|_| async { Err(Failure::NoResponse) }));
    let mut client = server.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n{}",
            "x".repeat(3_000_000)
        ))
        .await;
    assert_eq!(client.reply().await.status, 500);
    assert_eq!(client.rest().await, "");
}
