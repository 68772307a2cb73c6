//! Bodies in both directions: their beginning and end, and more bytes than any buffer
//! holds.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use skiff_trigger_http::{ResponseBody, Settings};
use support::*;
use tokio::io::AsyncWriteExt;

const MANY: usize = 100 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// How much may be in buffers of the process and of both sockets.
const BUFFERS: u64 = 16 * 1024 * 1024;

/// Answers with [`MANY`] bytes and counts those that were polled.
fn down(given: Arc<AtomicU64>) -> Fun {
    fun(move |_| {
        let given = given.clone();
        let piece = Bytes::from(vec![b'x'; PIECE]);
        let frames = futures::stream::iter(0..MANY / PIECE).map(move |_| {
            given.fetch_add(PIECE as u64, Ordering::Relaxed);
            Ok(Frame::data(piece.clone()))
        });
        async { Ok(Response::new(ResponseBody::new(StreamBody::new(frames)))) }
    })
}

#[tokio::test]
async fn a_response_is_made_only_as_fast_as_it_is_read() {
    let given = Arc::new(AtomicU64::new(0));
    let server = serve(down(given.clone()));
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(
        client.head().await.header("transfer-encoding"),
        Some("chunked")
    );
    let mut read = 0;
    while read < MANY as u64 {
        read += client.take(PIECE).await.len() as u64;
        let ahead = given.load(Ordering::Relaxed).saturating_sub(read);
        assert!(ahead < BUFFERS, "{ahead} bytes ahead after {read}");
    }
    assert_eq!(given.load(Ordering::Relaxed), MANY as u64);
}

#[tokio::test]
async fn a_request_is_taken_only_as_fast_as_it_is_read() {
    let taken = Arc::new(AtomicU64::new(0));
    let (go, gone) = tokio::sync::watch::channel(false);
    let count = taken.clone();
    let server = serve(fun(move |request| {
        let (count, mut gone) = (count.clone(), gone.clone());
        async move {
            gone.wait_for(|gone| *gone).await.unwrap();
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                count.fetch_add(frame?.into_data().unwrap().len() as u64, Ordering::Relaxed);
            }
            Ok(Response::new("done".into()))
        }
    }));
    let mut client = server.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {MANY}\r\n\r\n"
        ))
        .await;
    let piece = vec![b'x'; PIECE];
    let mut sent = 0;
    while let Ok(Ok(())) = tokio::time::timeout(
        std::time::Duration::from_millis(200),
        client.stream.writable(),
    )
    .await
    {
        match client.stream.try_write(&piece) {
            Ok(length) => sent += length,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(
            (sent as u64) < BUFFERS,
            "{sent} bytes were taken and nobody has read them"
        );
    }
    go.send(true).unwrap();
    while sent < MANY {
        let length = piece.len().min(MANY - sent);
        client.send(&piece[..length]).await;
        sent += length;
    }
    assert_eq!(client.reply().await.text(), "done");
    assert_eq!(taken.load(Ordering::Relaxed), MANY as u64);
}

#[tokio::test]
async fn both_directions_run_at_once() {
    let server = serve(echo());
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for round in 0..50 {
        let text = format!("round {round:03}");
        client.send(format!("9\r\n{text}\r\n")).await;
        if round == 0 {
            assert_eq!(client.head().await.status, 200);
        }
        assert_eq!(client.take(14).await, format!("9\r\n{text}\r\n").as_bytes());
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.take(5).await, b"0\r\n\r\n");
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.reply().await.text(), "ok");
}

#[tokio::test]
async fn a_hundred_megabytes_come_back_as_they_were_sent() {
    let server = serve_with(&Settings::default(), vec![route("/...", "echo", echo())]);
    let mut client = server.connect().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {MANY}\r\n\r\n"
        ))
        .await;
    let (mut read, mut write) = client.stream.split();
    let sent = async {
        for n in 0..MANY / PIECE {
            tokio::io::AsyncWriteExt::write_all(&mut write, &vec![n as u8; PIECE])
                .await
                .unwrap();
        }
    };
    let received = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tokio::io::AsyncReadExt::read_u8(&mut read).await.unwrap());
        }
        assert!(
            String::from_utf8(head)
                .unwrap()
                .contains(&format!("content-length: {MANY}\r\n"))
        );
        let mut piece = vec![0; PIECE];
        for n in 0..MANY / PIECE {
            tokio::io::AsyncReadExt::read_exact(&mut read, &mut piece)
                .await
                .unwrap();
            assert!(piece.iter().all(|byte| *byte == n as u8), "piece {n}");
        }
    };
    soon(async { tokio::join!(sent, received) }).await;
}

#[tokio::test]
async fn a_body_outlives_its_response() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = serve(fun(move |request| {
        let tell = tell.clone();
        async move {
            tokio::spawn(async move {
                let read = request.into_body().collect().await.unwrap();
                tell.send(read.to_bytes()).unwrap();
            });
            Ok(Response::new("early".into()))
        }
    }));
    for (framing, body) in [
        ("content-length: 4", "late"),
        ("transfer-encoding: chunked", "4\r\nlate\r\n0\r\n\r\n"),
    ] {
        let mut client = server.connect().await;
        client
            .send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n"))
            .await;
        assert_eq!(client.reply().await.text(), "early");
        client.send(body).await;
        assert_eq!(soon(told.recv()).await.unwrap(), "late", "{framing}");
        assert_eq!(client.get("/").await.text(), "early", "{framing}");
        assert_eq!(soon(told.recv()).await.unwrap(), "", "{framing}");
    }
}

#[tokio::test]
async fn what_came_before_a_failure_is_read_to_its_end() {
    const PIECES: usize = 256;
    let server = serve(fun(|_| async {
        let pieces = futures::stream::repeat_with(|| Ok(Frame::data(vec![b'x'; PIECE].into())));
        let failure = futures::stream::once(async { Err("the guest trapped".into()) });
        let frames = pieces.take(PIECES).chain(failure);
        Ok(Response::new(ResponseBody::new(StreamBody::new(frames))))
    }));
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    let mut read = 0;
    for _ in 0..PIECES {
        assert_eq!(client.take(7).await, format!("{PIECE:X}\r\n").as_bytes());
        read += client.take(PIECE).await.len();
        assert_eq!(client.take(2).await, b"\r\n");
    }
    assert_eq!(read, PIECES * PIECE);
    assert_eq!(client.rest().await, "");
    assert_eq!(server.count(|counters| &counters.cut_responses), 1);
}

#[tokio::test]
async fn a_client_is_told_to_continue_only_when_its_body_is_read() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";

    let server = serve(mirror());
    let mut client = server.connect().await;
    client.send(head).await;
    assert_eq!(client.head().await.status, 100);
    client.send("abc").await;
    assert!(client.reply().await.text().ends_with("\n\nabc"));

    let server = serve(says("no need"));
    let mut client = server.connect().await;
    client.send(head).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (200, "no need"));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let server = serve(fun(|request| async move {
        let body = request.into_body().collect().await?;
        let sum = body.trailers().unwrap()["x-sum"].clone();
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-back"), sum)]);
        let frames = [Frame::data(body.to_bytes()), Frame::trailers(trailers)].map(Ok);
        let mut response = Response::new(ResponseBody::new(StreamBody::new(
            futures::stream::iter(frames),
        )));
        response
            .headers_mut()
            .insert("trailer", HeaderValue::from_static("x-back"));
        Ok(response)
    }));
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send("3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!((reply.text(), reply.header("x-back")), ("abc", Some("42")));
}

#[tokio::test]
async fn a_body_that_fails_cuts_the_response() {
    let server = serve(half());
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let reply = client.head().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    assert_eq!(client.rest().await, "4\r\nhalf\r\n");
    assert_eq!(server.count(|counters| &counters.cut_responses), 1);
}

/// Handlers that take their time, and then answer: while holding the body, with its length,
/// or long after they have dropped it.
fn slow_readers() -> Vec<(&'static str, Fun)> {
    const WHILE: Duration = Duration::from_millis(30);
    let held = fun(|request| async move {
        tokio::time::sleep(WHILE).await;
        drop(request);
        Ok(Response::new(ResponseBody::from("answer")))
    });
    let dropped = fun(|request| async move {
        drop(request);
        tokio::time::sleep(WHILE).await;
        Ok(Response::new(ResponseBody::from("answer")))
    });
    let read = fun(|request| async move {
        let mut body = request.into_body();
        let mut length = 0;
        tokio::time::sleep(WHILE).await;
        while let Some(frame) = body.frame().await {
            length += frame?.into_data().map_or(0, |data| data.len());
            tokio::task::yield_now().await;
        }
        Ok(Response::new(ResponseBody::from(format!("{length} bytes"))))
    });
    vec![("held", held), ("dropped", dropped), ("read", read)]
}

#[tokio::test]
async fn a_client_that_closes_its_side_is_answered_whatever_becomes_of_its_body() {
    let large = "x".repeat(200_000);
    let bodies = [
        "content-length: 2\r\n\r\nab".to_owned(),
        "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".to_owned(),
        "expect: 100-continue\r\ncontent-length: 2\r\n\r\nab".to_owned(),
        format!("content-length: 200000\r\n\r\n{large}"),
    ];
    for (name, handler) in slow_readers() {
        let server = serve(handler);
        for body in &bodies {
            let mut client = server.connect().await;
            client
                .send(format!("POST / HTTP/1.1\r\nhost: a\r\n{body}"))
                .await;
            client.stream.shutdown().await.unwrap();
            let answer = client.rest().await;
            let shown = &body[..body.len().min(60)];
            assert!(answer.contains("200 OK"), "{name}: {shown}: {answer}");
            let wanted = match name {
                "read" => "bytes",
                _ => "answer",
            };
            assert!(answer.ends_with(wanted), "{name}: {shown}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_behind_other_requests_is_told_to_its_reader() {
    let server = serve(fun(|request| async move {
        request.into_body().collect().await?;
        Ok(Response::new(ResponseBody::from("whole")))
    }));
    let bodies = [
        "transfer-encoding: chunked\r\n\r\n0\r\nx",
        "transfer-encoding: chunked\r\n\r\n4\r\nab",
        "content-length: 3\r\n\r\nab",
        "content-length: 3\r\n\r\n",
    ];
    for body in bodies {
        for before in 0..3 {
            let mut client = server.connect().await;
            let first = "POST / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(before);
            client
                .send(format!("{first}POST / HTTP/1.1\r\nhost: a\r\n{body}"))
                .await;
            client.stream.shutdown().await.unwrap();
            let answers = client.rest().await;
            let count = |status| answers.matches(status).count();
            let (whole, bad) = (count("200 OK"), count("400 Bad Request"));
            assert_eq!((whole, bad), (before, 1), "{before}: {body}: {answers}");
        }
    }
}
