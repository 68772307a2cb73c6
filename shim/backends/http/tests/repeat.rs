//! Requests that are sent again: what nothing can have come of, and nothing else.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http::Method;
use http_body_util::{BodyExt as _, StreamBody};
use skiff_backend_http::{Client, Settings};
use skiff_host::{HttpBody, HttpCall};
use support::{Got, body, call, client, code, get, read_head, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server whose connections each answer some requests, and close when they have read one
/// more: so many for the first, and so on. The last number is that of all others.
struct Closing {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Closing {
    async fn start(answers: &'static [usize]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut left = answers.iter();
            let mut answers = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                answers = left.next().copied().unwrap_or(answers);
                for number in 0..=answers {
                    if read_head(&mut stream).await.is_none() {
                        break;
                    }
                    count.fetch_add(1, SeqCst);
                    if number < answers {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        stream.write_all(answer).await.unwrap();
                    }
                }
            }
        });
        Closing { address, requests }
    }

    fn call(&self, method: Method, body: HttpBody) -> HttpCall {
        let mut call = call(&format!("http://{}/", self.address));
        *call.request.method_mut() = method;
        *call.request.body_mut() = body;
        call
    }

    /// What becomes of a request on a connection that was kept, and how many reached it.
    async fn second(&self, method: Method, body: HttpBody) -> (String, usize) {
        let client = client();
        let first = get(&client, &format!("http://{}/", self.address)).await;
        assert_eq!(first.unwrap().status, 200);
        let second = send(&client, self.call(method, body)).await;
        (outcome(second), self.requests.load(SeqCst) - 1)
    }
}

fn outcome(got: Result<Got, skiff_host::HttpError>) -> String {
    match got {
        Ok(got) => got.status.to_string(),
        error => code(error),
    }
}

/// A body whose end is not known before it is read.
fn streamed(pieces: &[&'static str]) -> HttpBody {
    let frames: Vec<_> = pieces.iter().map(|piece| (*piece).into()).collect();
    let frames = frames.into_iter().map(http_body::Frame::data).map(Ok);
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

#[tokio::test]
async fn an_idempotent_request_is_sent_again_when_its_connection_ends_just_then() {
    for method in [Method::GET, Method::HEAD, Method::DELETE, Method::PUT] {
        for body in [body(""), streamed(&[])] {
            let server = Closing::start(&[1, 1]).await;
            let sent = server.second(method.clone(), body).await;
            assert_eq!(sent, ("200".to_owned(), 2), "{method}");
        }
    }
}

#[tokio::test]
async fn what_might_be_done_twice_is_sent_once() {
    let once = ("HttpProtocolError".to_owned(), 1);
    let server = Closing::start(&[1, 1]).await;
    assert_eq!(server.second(Method::POST, body("")).await, once);
    let server = Closing::start(&[1, 1]).await;
    let patch = server.second(Method::PATCH, streamed(&[])).await;
    assert_eq!(patch, once);
    // Some of its body is gone.
    let server = Closing::start(&[1, 1]).await;
    let put = server.second(Method::PUT, streamed(&["ping"])).await;
    assert_eq!(put, once);
}

#[tokio::test]
async fn a_request_is_sent_again_once_and_never_after_a_new_connection() {
    let server = Closing::start(&[1, 0]).await;
    let sent = server.second(Method::GET, body("")).await;
    assert_eq!(sent, ("HttpProtocolError".to_owned(), 2));
    let server = Closing::start(&[0]).await;
    let first = send(&client(), server.call(Method::GET, body(""))).await;
    assert_eq!(code(first), "HttpProtocolError");
    assert_eq!(server.requests.load(SeqCst), 1);
}

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END: u8 = 5;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads frames of HTTP/2 up to the head of a request, and returns its stream.
async fn read_stream(stream: &mut TcpStream) -> Option<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.ok()?;
        if head[3] == HEADERS {
            return Some(u32::from_be_bytes(head[5..9].try_into().unwrap()));
        }
    }
}

/// A server of HTTP/2 that refuses the first request on its first connection with a frame,
/// and answers on all others; and a client for it.
async fn refusing(refusal: fn(u32) -> Vec<u8>) -> (String, Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let is_first = count.fetch_add(1, SeqCst) == 0;
            stream.read_exact(&mut [0; 24]).await.unwrap();
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
            let asked = read_stream(&mut stream).await.unwrap();
            let answer = match is_first {
                true => refusal(asked),
                // `:status: 200` by its number.
                false => frame(HEADERS, END, asked, &[0x88]),
            };
            stream.write_all(&answer).await.unwrap();
            open.push(stream);
        }
    });
    let client = Client::new(Settings {
        http2_without_tls: Some(address.to_string()),
        ..Settings::default()
    });
    (format!("http://{address}/"), client, connections)
}

fn refused_stream(stream: u32) -> Vec<u8> {
    frame(RESET, 0, stream, &7_u32.to_be_bytes())
}

fn cancelled_stream(stream: u32) -> Vec<u8> {
    frame(RESET, 0, stream, &8_u32.to_be_bytes())
}

/// The server has looked at no request.
fn goodbye(_: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[0; 8])
}

#[tokio::test]
async fn a_stream_that_a_server_refuses_is_sent_again_whatever_it_asks() {
    for (refusal, method, expected) in [
        (refused_stream as fn(u32) -> Vec<u8>, Method::POST, "200"),
        (refused_stream, Method::GET, "200"),
        (goodbye, Method::GET, "200"),
        (goodbye, Method::POST, "HttpProtocolError"),
        (cancelled_stream, Method::GET, "HttpProtocolError"),
    ] {
        let (url, client, connections) = refusing(refusal).await;
        let mut call = call(&url);
        *call.request.method_mut() = method.clone();
        let got = outcome(send(&client, call).await);
        assert_eq!(got, expected, "{method}");
        let expected = if expected == "200" { 2 } else { 1 };
        assert_eq!(connections.load(SeqCst), expected, "{method}");
    }
    // A body that has not begun is sent as well.
    let (url, client, connections) = refusing(refused_stream).await;
    let mut call = call(&url);
    *call.request.method_mut() = Method::POST;
    *call.request.body_mut() = StreamBody::new(futures::stream::pending()).boxed_unsync();
    assert_eq!(outcome(send(&client, call).await), "200");
    assert_eq!(connections.load(SeqCst), 2);
}
