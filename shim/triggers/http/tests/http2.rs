//! HTTP/2 without TLS, which clients start with its preface.

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use skiff_trigger::DrainOutcome;
use skiff_trigger_http::{BoxError, ResponseBody, Settings};
use support::*;
use tokio::sync::mpsc;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An empty settings frame, which both sides send first.
const NO_SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// Much longer than anything here takes, and much shorter than [`SOON`].
const SHORT: Duration = Duration::from_millis(300);

/// A connection that sends bodies of one kind.
struct Client<B>(SendRequest<B>);

impl<B> Client<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    async fn new(server: &Running) -> Self {
        let stream = TokioIo::new(server.connect().await.stream);
        let (client, connection) = soon(handshake(TokioExecutor::new(), stream)).await.unwrap();
        tokio::spawn(connection);
        Client(client)
    }

    async fn send(&mut self, uri: &str, body: B) -> hyper::Result<Response<Incoming>> {
        let request = Request::post(uri).body(body).unwrap();
        soon(self.0.send_request(request)).await
    }
}

impl Client<Empty<Bytes>> {
    async fn get(&mut self, uri: &str) -> hyper::Result<Response<Incoming>> {
        self.send(uri, Empty::new()).await
    }
}

async fn text(response: Response<Incoming>) -> String {
    let body = soon(response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// The error of a stream that the server has reset.
async fn reset(mut response: Response<Incoming>) -> hyper::Error {
    loop {
        let frame = soon(response.frame()).await;
        if let Err(error) = frame.expect("the stream is reset before its end") {
            return error;
        }
    }
}

#[tokio::test]
async fn a_guest_gets_the_request_and_what_is_known_of_it() {
    let server = serve(mirror());
    let mut client = Client::new(&server).await;
    let response = client
        .send("http://example.com:80/a/b?q=1", Full::from("body"))
        .await
        .unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let text = text(response).await;
    assert!(
        text.starts_with("POST http://example.com:80/a/b?q=1\n") && text.ends_with("\n\nbody"),
        "{text}"
    );
    // Without a `host` header, Spin reports `localhost`.
    assert!(
        text.contains("\nspin-full-url: http://localhost/a/b?q=1\n") && !text.contains("\nhost:"),
        "{text}"
    );
    assert!(text.contains("\nspin-path-info: /a/b\n"), "{text}");
}

#[tokio::test]
async fn bodies_and_trailers_go_both_ways() {
    let server = serve(echo());
    let mut client = Client::new(&server).await;
    let trailers: HeaderMap = [(
        HeaderName::from_static("checksum"),
        HeaderValue::from_static("17"),
    )]
    .into_iter()
    .collect();
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    let frames = [
        Frame::data(large.clone()),
        Frame::trailers(trailers.clone()),
    ];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, BoxError>)));
    let response = client.send("http://a/", body).await.unwrap();
    let echoed = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(echoed.trailers(), Some(&trailers));
    assert_eq!(echoed.to_bytes(), large);
}

#[tokio::test]
async fn the_preface_may_come_in_single_bytes() {
    let server = serve(says("hello"));
    let mut client = server.connect().await;
    client.stream.set_nodelay(true).unwrap();
    for byte in [PREFACE, NO_SETTINGS].concat() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    // The server's own settings (a frame of type 4), and its acknowledgement of the
    // client's.
    assert_eq!(client.take(4).await[3], 4);
}

#[tokio::test]
async fn what_only_begins_like_http2_is_http1() {
    let server = serve(says("hello"));
    let mut client = server.connect().await;
    client.send("PR").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.send("OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.reply().await.text(), "hello");
}

#[tokio::test]
async fn requests_of_one_connection_run_at_once() {
    let (arrive, mut arrived) = mpsc::unbounded_channel();
    let (go, gone) = tokio::sync::watch::channel(false);
    let server = serve(fun(move |_| {
        let (arrive, mut gone) = (arrive.clone(), gone.clone());
        async move {
            arrive.send(()).unwrap();
            gone.wait_for(|gone| *gone).await.unwrap();
            Ok(Response::new("done".into()))
        }
    }));
    let client = Client::new(&server).await;
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client(client.0.clone());
            tokio::spawn(async move { text(client.get("http://a/").await.unwrap()).await })
        })
        .collect();
    for _ in 0..20 {
        soon(arrived.recv()).await.unwrap();
    }
    go.send(true).unwrap();
    for request in requests {
        assert_eq!(request.await.unwrap(), "done");
    }
}

#[tokio::test]
async fn a_body_that_fails_cuts_its_stream_alone() {
    let server = serve_with(
        &Settings::default(),
        vec![
            route("/half", "half", half()),
            route("/whole", "whole", says("whole")),
        ],
    );
    let mut client = Client::new(&server).await;
    let mut response = client.get("http://a/half").await.unwrap();
    assert_eq!(response.status(), 200);
    let piece = soon(response.frame()).await.unwrap().unwrap();
    assert_eq!(piece.into_data().unwrap(), "half");
    reset(response).await;
    assert_eq!(server.count(|counters| &counters.cut_responses), 1);
    let whole = client.get("http://a/whole").await.unwrap();
    assert_eq!(text(whole).await, "whole");
}

#[tokio::test]
async fn a_body_that_stops_half_way_hurts_its_stream_alone() {
    let settings = Settings {
        body_timeout: SHORT,
        ..Settings::default()
    };
    let server = serve_with(&settings, vec![route("/...", "main", mirror())]);
    let (send, stopping) = mpsc::unbounded_channel::<Result<Frame<Bytes>, BoxError>>();
    send.send(Ok(Frame::data("half".into()))).unwrap();
    let (_, ended) = mpsc::unbounded_channel();
    let [stopping, ended] = [stopping, ended].map(|frames| {
        let frames = futures::stream::unfold(frames, |mut frames| async {
            frames.recv().await.map(|frame| (frame, frames))
        });
        StreamBody::new(Box::pin(frames))
    });
    let mut client = Client::new(&server).await;
    let stopped = client.send("http://a/", stopping).await.unwrap();
    assert_eq!(stopped.status(), 408);
    assert_eq!(server.count(|counters| &counters.body_timeouts), 1);
    let ended = client.send("http://a/", ended).await.unwrap();
    assert_eq!(ended.status(), 200);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_reset_alone() {
    let settings = Settings {
        write_timeout: SHORT,
        ..Settings::default()
    };
    let endless = fun(|_| async {
        let frames =
            futures::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'x'; 16384]))));
        Ok(Response::new(ResponseBody::new(StreamBody::new(frames))))
    });
    let server = serve_with(
        &settings,
        vec![
            route("/endless", "endless", endless),
            route("/short", "short", says("short")),
        ],
    );
    let mut client = Client::new(&server).await;
    let unread = client.get("http://a/endless").await.unwrap();
    server
        .count_reaches(|counters| &counters.write_timeouts, 1)
        .await;
    reset(unread).await;
    let short = client.get("http://a/short").await.unwrap();
    assert_eq!(text(short).await, "short");
}

#[tokio::test]
async fn too_many_headers_are_431() {
    let server = serve(says("hello"));
    let mut client = Client::new(&server).await;
    let mut request = Request::get("http://a/");
    for n in 0..101 {
        request = request.header(format!("x-{n}"), "1");
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = soon(client.0.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 431);
}

#[tokio::test]
async fn drain_lets_a_slow_request_finish() {
    let (arrive, mut arrived) = mpsc::unbounded_channel();
    let mut server = serve(fun(move |_| {
        arrive.send(()).unwrap();
        async {
            tokio::time::sleep(SHORT).await;
            Ok(Response::new("late".into()))
        }
    }));
    let mut client = Client::new(&server).await;
    let request = tokio::spawn(async move {
        let response = client.get("http://a/").await.unwrap();
        text(response).await
    });
    soon(arrived.recv()).await.unwrap();
    server.shut_down();
    assert_eq!(server.outcome().await, DrainOutcome::Finished);
    assert_eq!(request.await.unwrap(), "late");
}
