//! Requests over HTTP/1.1 to servers that behave in every way.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use skiff_backend_http::{Client, Settings};
use skiff_host::HttpClient as _;
use skiff_manifest::hosts::BlockedNetworks;
use support::{Server, body, call, client, code, get, read_head, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Server::start(HELLO, false).await;
    let client = client();
    for _ in 0..20 {
        let got = get(&client, &server.url()).await.unwrap();
        assert_eq!((got.status, got.body.as_str()), (200, "hello"));
    }
    assert_eq!(server.counts(), (1, 20));
}

#[tokio::test]
async fn a_request_is_under_way_also_while_nobody_polls_its_answer() {
    let server = Server::start(HELLO, false).await;
    let client = client();
    // The first needs a connection, the second has one.
    for sent in 1..=2 {
        let answer = client.send(call(&server.url()));
        while server.counts().1 < sent {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            answer.await.unwrap().collect().await.unwrap().to_bytes(),
            "hello"
        );
    }
    assert_eq!(server.counts(), (1, 2));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let server = Server::start(HELLO, true).await;
    let client = client();
    for _ in 0..5 {
        assert_eq!(get(&client, &server.url()).await.unwrap().status, 200);
        // The close arrives some time.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.counts(), (5, 5));
}

#[tokio::test]
async fn the_request_is_what_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        let mut sent = [0; 4];
        stream.read_exact(&mut sent).await.unwrap();
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        head
    });
    let mut call = call(&format!("http://127.0.0.1:{port}"));
    call.request = Request::builder()
        .method("POST")
        .uri(format!("http://user:secret@127.0.0.1:{port}/a?b=c"))
        .header("x-own", "1")
        .header("content-length", "4")
        .body(body("ping"))
        .unwrap();
    assert_eq!(send(&client(), call).await.unwrap().status, 200);
    let head = server.await.unwrap();
    assert_eq!(
        head,
        format!(
            "POST /a?b=c HTTP/1.1\r\nx-own: 1\r\ncontent-length: 4\r\nhost: 127.0.0.1:{port}\r\n\r\n"
        )
    );
}

#[tokio::test]
async fn every_broken_answer_is_an_error_and_not_a_short_body() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    for (answer, expected) in [
        ("nonsense\r\n\r\n", "HttpProtocolError"),
        ("", "HttpProtocolError"),
        ("HTTP/1.1 200 OK\r\ncontent-", "HttpProtocolError"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
            "HttpProtocolError",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HttpProtocolError",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HttpProtocolError",
        ),
        (large.as_str(), "HttpResponseHeaderSectionSize"),
    ] {
        let server = Server::start(answer, true).await;
        let got = get(&client(), &server.url()).await;
        assert_eq!(code(got), expected, "{:.60}", answer);
    }
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let got = get(&client(), &format!("http://{address}/")).await;
    assert_eq!(code(got), "ConnectionRefused");
}

#[tokio::test]
async fn each_part_of_a_request_has_its_time() {
    let short = Duration::from_millis(50);
    let began = Instant::now();
    // The server accepts and says nothing.
    let silent = Server::start("", false).await;
    let mut asked = call(&silent.url());
    asked.timeouts.first_byte = short;
    assert_eq!(code(send(&client(), asked).await), "ConnectionReadTimeout");
    // It stops in the middle of the body.
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let stalled = Server::start(half, false).await;
    let mut asked = call(&stalled.url());
    asked.timeouts.between_bytes = short;
    assert_eq!(code(send(&client(), asked).await), "ConnectionReadTimeout");
    // It does not even accept: the kernel's queue is full.
    let full = full_listener().await;
    let mut asked = call(&format!("http://{}/", full.address));
    asked.timeouts.connect = short;
    assert_eq!(code(send(&client(), asked).await), "ConnectionTimeout");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_sent_to_its_end() {
    let silent = Server::start("", false).await;
    let (pieces, body) = tokio::sync::mpsc::channel(1);
    let body = futures::stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
    let mut asked = call(&silent.url());
    *asked.request.method_mut() = http::Method::POST;
    *asked.request.body_mut() = StreamBody::new(body).boxed_unsync();
    asked.timeouts.first_byte = Duration::from_millis(50);
    // More than the kernel keeps for a server that does not read.
    let fed = tokio::spawn(async move {
        let piece = || {
            Ok(http_body::Frame::data(bytes::Bytes::from_static(
                &[0; 65536],
            )))
        };
        while pieces.send(piece()).await.is_ok() {}
    });
    assert_eq!(code(send(&client(), asked).await), "ConnectionReadTimeout");
    let fed = tokio::time::timeout(Duration::from_secs(10), fed).await;
    fed.expect("nobody takes the body").unwrap();
}

struct Full {
    address: std::net::SocketAddr,
    _held: Vec<std::net::TcpStream>,
    _listener: tokio::net::TcpListener,
}

/// A listener whose queue is full, so that nobody can connect any more.
async fn full_listener() -> Full {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let wait = Duration::from_millis(100);
    let connect = || std::net::TcpStream::connect_timeout(&address, wait).ok();
    let held = std::iter::from_fn(connect).take(16).collect();
    Full {
        address,
        _held: held,
        _listener: listener,
    }
}

#[tokio::test]
async fn a_body_is_passed_on_while_it_comes_and_ends_with_its_reader() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut pieces = 0;
        while stream.write_all(b"5\r\nhello\r\n").await.is_ok() {
            pieces += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pieces
    });
    let client = client();
    let response = client
        .send(call(&format!("http://{address}/")))
        .await
        .unwrap();
    let mut body = response.into_body();
    for _ in 0..3 {
        let frame = body.frame().await.unwrap().unwrap();
        assert!(frame.data_ref().unwrap().starts_with(b"hello"));
    }
    drop(body);
    // An answer without an end ends for the server when nobody reads it.
    let pieces = tokio::time::timeout(support::PATIENCE, server).await;
    assert!(pieces.expect("the connection is closed").unwrap() >= 3);
}

#[tokio::test]
async fn a_request_that_is_given_up_closes_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = client();
    let sending = client.send(call(&format!("http://{address}/")));
    let given_up = tokio::time::timeout(Duration::from_millis(50), sending).await;
    assert!(given_up.is_err());
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut all = Vec::new();
    let closed = tokio::time::timeout(support::PATIENCE, stream.read_to_end(&mut all)).await;
    assert!(closed.is_ok());
}

#[tokio::test]
async fn a_request_body_is_streamed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (pieces, body) = tokio::sync::mpsc::channel(1);
    let body = futures::stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
    let mut asked = call(&format!("http://{address}/"));
    *asked.request.body_mut() = StreamBody::new(body).boxed_unsync();
    *asked.request.method_mut() = http::Method::POST;
    let client = client();
    let answer = tokio::spawn(async move { send(&client, asked).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let head = read_head(&mut stream).await.unwrap();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    for _ in 0..3 {
        let piece = http_body::Frame::data("ping".into());
        pieces.send(Ok(piece)).await.unwrap();
        let mut read = [0; 9];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"4\r\nping\r\n");
    }
    // The answer may come before the end of the request.
    stream.write_all(HELLO.as_bytes()).await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap().body, "hello");
}

#[tokio::test]
async fn a_blocked_address_is_not_connected_to_by_whatever_name() {
    let server = Server::start(HELLO, false).await;
    let client = Client::new(Settings {
        blocked: BlockedNetworks::parse(["127.0.0.0/8"]).unwrap(),
        ..Settings::default()
    });
    let port = server.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let got = get(&client, &format!("http://{host}:{port}/")).await;
        // `localhost` may also be an address of IPv6, where nobody listens.
        let code = code(got);
        assert!(
            code == "DestinationIpProhibited" || host == "localhost" && code == "ConnectionRefused",
            "{host}: {code}"
        );
    }
    assert_eq!(server.counts(), (0, 0));
    let own = skiff_host::HttpCall {
        unblocked: true,
        ..call(&server.url())
    };
    assert_eq!(send(&client, own).await.unwrap().status, 200);
}

#[tokio::test]
async fn connections_are_limited_for_each_host_and_for_all() {
    let first = Server::start(HELLO, false).await;
    let second = Server::start(HELLO, false).await;
    let client = Client::new(Settings {
        connections: 2,
        connections_each: 1,
        ..Settings::default()
    });
    let open = client.send(call(&first.url())).await.unwrap();
    let got = get(&client, &first.url()).await;
    assert_eq!(code(got), "ConnectionLimitReached");
    assert_eq!(get(&client, &second.url()).await.unwrap().status, 200);
    drop(open);
    // The second server's connection waits for its next request, and gives way to a third.
    let third = Server::start(HELLO, false).await;
    let open = client.send(call(&first.url())).await.unwrap();
    assert_eq!(get(&client, &third.url()).await.unwrap().status, 200);
    drop(open);
}

#[tokio::test]
async fn a_limit_that_others_share_holds_for_requests_as_well() {
    let server = Server::start(HELLO, false).await;
    let total = Arc::new(Semaphore::new(1));
    let client = Client::within(Settings::default(), Some(Arc::clone(&total)));
    let others = Arc::clone(&total).try_acquire_owned().unwrap();
    let got = get(&client, &server.url()).await;
    assert_eq!(code(got), "ConnectionLimitReached");
    drop(others);
    assert_eq!(get(&client, &server.url()).await.unwrap().status, 200);
    assert!(total.try_acquire().is_err(), "the connection is kept");
    // It gives way to one to another server.
    let second = Server::start(HELLO, false).await;
    assert_eq!(get(&client, &second.url()).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_connection_is_not_kept_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::new(Settings {
        idle: Duration::from_millis(20),
        ..Settings::default()
    });
    let getting = tokio::spawn(async move { get(&client, &format!("http://{address}/")).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await.unwrap();
    stream.write_all(HELLO.as_bytes()).await.unwrap();
    assert_eq!(getting.await.unwrap().unwrap().status, 200);
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(support::PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok());
}

#[tokio::test]
async fn nothing_opens_a_tunnel() {
    let server = Server::start("HTTP/1.1 200 OK\r\n\r\n", false).await;
    let mut asked = call(&server.url());
    *asked.request.method_mut() = http::Method::CONNECT;
    assert_eq!(
        code(send(&client(), asked).await),
        "HttpRequestMethodInvalid"
    );
    assert_eq!(server.counts(), (0, 0));
}

#[tokio::test]
async fn no_connection_is_kept_where_none_is_wanted() {
    let server = Server::start(HELLO, false).await;
    let client = Client::new(Settings {
        keeps: false,
        ..Settings::default()
    });
    for _ in 0..3 {
        assert_eq!(get(&client, &server.url()).await.unwrap().status, 200);
    }
    assert_eq!(server.counts(), (3, 3));
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_body_that_nobody_reads() {
    let server = Server::start(HELLO, false).await;
    let client = client();
    for _ in 0..20 {
        let response = client.send(call(&server.url())).await.unwrap();
        assert_eq!(response.status(), 200);
        drop(response);
    }
    assert_eq!(server.counts(), (1, 20));
}
