//! A server in the test's own process, handlers made of closures, and a client that sends
//! exactly the given bytes.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use skiff_trigger::{DrainOutcome, ServeError, Triggers};
use skiff_trigger_http::{
    AppInfo, Counters, Failure, Handler, Http, RequestBody, ResponseBody, Route, RoutePath, Router,
    RouterHandle, Server, Settings, Target,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// No test waits longer than this for an expected event.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) type Answer = Result<Response<ResponseBody>, Failure>;
type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A handler made of a closure.
pub(crate) struct Fun(Box<dyn Fn(Request<RequestBody>) -> AnswerFuture + Send + Sync>);

pub(crate) fn fun<F, A>(answer: F) -> Fun
where
    F: Fn(Request<RequestBody>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    Fun(Box::new(move |request| Box::pin(answer(request))))
}

impl Handler for Fun {
    async fn handle(&self, request: Request<RequestBody>) -> Answer {
        (self.0)(request).await
    }
}

/// Answers with a text.
pub(crate) fn says(text: &'static str) -> Fun {
    fun(move |_| async move { Ok(Response::new(text.into())) })
}

/// Answers with the request itself: a line for the target, then one for each header,
/// sorted, then the body.
pub(crate) fn mirror() -> Fun {
    fun(|request| async move {
        let (parts, body) = request.into_parts();
        let mut lines: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        let body = body.collect().await?.to_bytes();
        let text = format!("{} {}\n{}\n\n", parts.method, parts.uri, lines.join("\n"));
        Ok(Response::new([text.as_bytes(), &*body].concat().into()))
    })
}

/// Sends the request's body back as it arrives.
pub(crate) fn echo() -> Fun {
    fun(|request| async move {
        let body = request.into_body().map_err(Into::into);
        Ok(Response::new(ResponseBody::new(body)))
    })
}

/// Answers with half a body.
pub(crate) fn half() -> Fun {
    fun(|_| async {
        let frames = [
            Ok(Frame::data(Bytes::from("half"))),
            Err("the guest trapped".into()),
        ];
        Ok(Response::new(ResponseBody::new(StreamBody::new(
            futures::stream::iter(frames),
        ))))
    })
}

pub(crate) fn route(path: &str, component: &str, handler: Fun) -> Route<Fun> {
    Route {
        trigger: format!("trigger-{component}"),
        path: RoutePath::Public(path.to_owned()),
        target: Target::Handler {
            component: component.to_owned(),
            handler: Arc::new(handler),
        },
    }
}

pub(crate) fn router(routes: Vec<Route<Fun>>) -> Router<Fun> {
    let info = AppInfo {
        name: "app".to_owned(),
        version: Some("1.2.3".to_owned()),
        oci_image_digest: None,
    };
    Router::new(&info, routes).unwrap()
}

/// A server that runs in the test's runtime.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) counters: Arc<Counters>,
    pub(crate) routes: RouterHandle<Fun>,
    shutdown: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<DrainOutcome, ServeError>>,
}

/// Serves one handler on all paths.
pub(crate) fn serve(handler: Fun) -> Running {
    serve_with(&Settings::default(), vec![route("/...", "main", handler)])
}

pub(crate) fn serve_with(settings: &Settings, routes: Vec<Route<Fun>>) -> Running {
    start(bind(settings), routes)
}

pub(crate) fn bind(settings: &Settings) -> Server {
    Server::bind(([127, 0, 0, 1], 0).into(), settings).unwrap()
}

pub(crate) fn start(server: Server, routes: Vec<Route<Fun>>) -> Running {
    start_with_limit(server, routes, SOON)
}

/// Serves with a drain limit.
pub(crate) fn start_with_limit(
    server: Server,
    routes: Vec<Route<Fun>>,
    drain_limit: Duration,
) -> Running {
    let routes = RouterHandle::new(router(routes));
    let (shutdown, told) = oneshot::channel();
    let (address, counters) = (server.local_addr(), server.counters());
    let triggers = Triggers::of_worker(0).with(Http::new(server, routes.clone()));
    let task = triggers.serve(drain_limit, async move {
        if told.await.is_err() {
            std::future::pending().await
        }
        Instant::now()
    });
    Running {
        address,
        counters,
        routes,
        shutdown: Some(shutdown),
        server: tokio::spawn(task),
    }
}

impl Running {
    pub(crate) async fn connect(&self) -> Raw {
        Raw::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        let mut client = self.connect().await;
        client.get(path).await
    }

    pub(crate) fn shut_down(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn outcome(self) -> DrainOutcome {
        soon(self.server).await.unwrap().unwrap()
    }

    /// Ends the server without any drain.
    pub(crate) fn abort(&self) {
        self.server.abort();
    }

    pub(crate) async fn count_reaches(
        &self,
        counter: impl Fn(&Counters) -> &AtomicU64,
        least: u64,
    ) {
        until(|| counter(&self.counters).load(Ordering::Relaxed) >= least).await;
    }

    pub(crate) fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.counters).load(Ordering::Relaxed)
    }
}

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future)
        .await
        .expect("this should have happened long ago")
}

/// Waits for something that is not signalled.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

/// A connection, as bytes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

/// A server's response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// As sent, without the status line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Raw {
            stream: soon(TcpStream::connect(address)).await.unwrap(),
            read: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
            .await;
        self.reply().await
    }

    /// The next reply, with a body of known length, of chunks (trailers are kept as they
    /// came), or none.
    pub(crate) async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        if let Some(length) = reply.header("content-length") {
            reply.body = self.take(length.parse().unwrap()).await;
        } else if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.until(b"\r\n").await;
                let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                if size == 0 {
                    break;
                }
                reply.body.extend(self.take(size).await);
                assert_eq!(self.take(2).await, b"\r\n");
            }
            loop {
                match &*self.until(b"\r\n").await {
                    "\r\n" => break,
                    trailer => reply.head.push_str(trailer),
                }
            }
        }
        reply
    }

    /// The head of a reply whose body is left unread.
    pub(crate) async fn head(&mut self) -> Reply {
        let head = self.until(b"\r\n\r\n").await;
        let (status, head) = head.split_once("\r\n").unwrap();
        let status = status.strip_prefix("HTTP/1.").unwrap()[2..5]
            .parse()
            .unwrap();
        Reply {
            status,
            head: head.replace("\r\n", "\n"),
            body: Vec::new(),
        }
    }

    /// Everything up to the end of the connection. A reset counts as an end.
    pub(crate) async fn rest(&mut self) -> String {
        while self.fill().await.is_ok_and(|length| length > 0) {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    pub(crate) async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert_ne!(
                self.fill().await.unwrap(),
                0,
                "the connection ended after {} bytes",
                self.read.len()
            );
        }
        self.read.drain(..length).collect()
    }

    async fn until(&mut self, end: &[u8]) -> String {
        loop {
            if let Some(at) = self
                .read
                .windows(end.len())
                .position(|window| window == end)
            {
                return String::from_utf8(self.take(at + end.len()).await).unwrap();
            }
            assert_ne!(
                self.fill().await.unwrap(),
                0,
                "the connection ended after {} bytes",
                self.read.len()
            );
        }
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        soon(self.stream.read_buf(&mut self.read)).await
    }
}
