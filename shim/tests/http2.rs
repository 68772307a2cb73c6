//! What real guests answer over HTTP/2, through `skiff run`.

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Running, Skiff};

/// One connection, and the frames of its streams.
struct Client {
    runtime: tokio::runtime::Runtime,
    sender: SendRequest<Empty<Bytes>>,
}

impl Client {
    fn new(server: &Running) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let stream = server.connect();
        stream.set_nonblocking(true).unwrap();
        let sender = runtime.block_on(async {
            let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream).unwrap());
            let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Client { runtime, sender }
    }

    /// The status and the whole body, or the error of a stream that was reset.
    fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> hyper::Result<(u16, String)> {
        let mut request = Request::get(format!("http://a{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).unwrap();
        self.runtime.block_on(async {
            let response = self.sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        })
    }
}

/// Answers that break off at any size reset their streams, and each is logged.
fn breaks_off(guest: &str, ways: &[&str]) {
    let skiff = Skiff::component(guest).start();
    let mut client = Client::new(&skiff);
    let mut broken = 0;
    for way in ways {
        for bytes in [1, 100, 4096, 4097, 70_000] {
            match client.get(&format!("/?bytes={bytes}&{way}"), &[]) {
                Ok((status, text)) => {
                    assert_eq!(status, 500, "{way} {bytes}: {} bytes", text.len());
                }
                Err(error) => {
                    let told = format!("{way} {bytes}: {error:?}");
                    assert!(told.contains("Reset"), "{told}");
                }
            }
            broken += 1;
        }
    }
    // The connection is unaffected by those streams.
    let whole = client.get("/.well-known/spin/health", &[]).unwrap();
    assert_eq!(whole, (200, "OK".to_owned()));
    drop(client);
    let ended = skiff.stop();
    let lines = ended.stderr.matches("ERROR").count();
    assert_eq!(lines, broken, "{}", ended.stderr);
}

#[test]
fn an_unfinished_body_resets_its_stream_at_every_size_and_is_told() {
    breaks_off(
        "breaks-off",
        &[
            "how=0",
            "how=1",
            "how=2",
            "how=0&length=100000",
            "how=2&length=100000",
        ],
    );
}

#[test]
fn an_unfinished_body_of_wasi_0_3_resets_its_stream_at_every_size_and_is_told() {
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
fn parts_of_a_cookie_reach_guests_as_one() {
    for guest in ["headers", "p3-headers"] {
        let skiff = Skiff::component(guest).start();
        let parts = [("cookie", "a=b"), ("x-between", "1"), ("cookie", "c=d")];
        let (status, text) = Client::new(&skiff).get("/", &parts).unwrap();
        assert_eq!(status, 200, "{guest}: {text}");
        let cookies: Vec<_> = text.lines().filter(|l| l.starts_with("cookie")).collect();
        assert_eq!(cookies, ["cookie: a=b; c=d"], "{guest}: {text}");
    }
}
