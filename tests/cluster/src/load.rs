//! Steady load that counts every failed request.
//!
//! Half of the connections are kept as long as the server keeps them, the other half are
//! new for each request: clients with a pool and clients without one. A request is lost
//! if it was sent, or its connection was attempted, and no complete answer with 200 came
//! back. A server may close a connection between two requests; that loses none.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How many connections send requests at once.
const CONNECTIONS: usize = 8;

/// The pause between two requests of a connection: steady load, not the maximum.
const BREATH: Duration = Duration::from_millis(4);

/// A client gives up after this long without an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many losses are listed one by one.
const TOLD: usize = 20;

/// What was answered and lost.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// Requests that were answered.
    pub(crate) answered: u64,
    /// When requests were lost, after the start of the load, and what the client saw.
    pub(crate) lost: BTreeMap<String, Vec<Duration>>,
    /// The longest time to an answer.
    pub(crate) slowest: Duration,
}

impl Tally {
    /// How many were lost.
    pub(crate) fn losses(&self) -> u64 {
        self.lost.values().map(|times| times.len() as u64).sum()
    }

    fn add(mut self, other: Self) -> Self {
        self.answered += other.answered;
        for (reason, times) in other.lost {
            self.lost.entry(reason).or_default().extend(times);
        }
        self.slowest = self.slowest.max(other.slowest);
        self
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} answered, {} lost, slowest {} ms",
            self.answered,
            self.losses(),
            self.slowest.as_millis()
        )?;
        for (reason, times) in &self.lost {
            write!(out, "; {} times: {reason} (", times.len())?;
            for time in times.iter().take(TOLD) {
                write!(out, " {:.1}", time.as_secs_f64())?;
            }
            write!(out, " s after the start)")?;
        }
        Ok(())
    }
}

/// Load that runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts requesting `path` of a server, at a steady pace.
    pub(crate) fn steady(server: SocketAddr, path: &str) -> Self {
        Self::start(server, path, CONNECTIONS, BREATH)
    }

    /// Starts sending requests as fast as this many connections can.
    pub(crate) fn full(server: SocketAddr, path: &str, connections: usize) -> Self {
        Self::start(server, path, connections, Duration::ZERO)
    }

    fn start(server: SocketAddr, path: &str, connections: usize, breath: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..connections).map(|number| {
            let client = Client {
                server,
                path: path.to_owned(),
                keeps: number % 2 == 0,
                breath,
                stop: Arc::clone(&stop),
            };
            tokio::spawn(client.ask())
        });
        Self {
            clients: clients.collect(),
            stop,
        }
    }

    /// Lets every client finish its request and adds up the results.
    ///
    /// # Errors
    ///
    /// When a client panicked.
    pub(crate) async fn end(self) -> anyhow::Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for tally in join_all(self.clients).await {
            sum = sum.add(tally?);
        }
        Ok(sum)
    }
}

struct Client {
    server: SocketAddr,
    path: String,
    keeps: bool,
    breath: Duration,
    stop: Arc<AtomicBool>,
}

impl Client {
    async fn ask(self) -> Tally {
        let start = Instant::now();
        let mut tally = Tally::default();
        let mut kept = None;
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let asked = tokio::time::timeout(PATIENCE, self.once(&mut kept)).await;
            match asked.unwrap_or_else(|_| Err("no answer".into())) {
                Ok(()) => tally.answered += 1,
                Err(reason) => tally.lost.entry(reason).or_default().push(start.elapsed()),
            }
            tally.slowest = tally.slowest.max(began.elapsed());
            tokio::time::sleep(self.breath).await;
        }
        tally
    }

    /// One request, on the kept connection if the server has not closed it.
    async fn once(&self, kept: &mut Option<SendRequest<Empty<Bytes>>>) -> Result<(), String> {
        let mut connection = loop {
            match kept.take() {
                Some(mut connection) => {
                    if connection.ready().await.is_ok() {
                        break connection;
                    }
                }
                None => break self.connect().await?,
            }
        };
        let request = Request::get(&self.path)
            .header("host", self.server.to_string())
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let answer = match connection.try_send_request(request).await {
            Ok(answer) => answer,
            Err(mut error) => match error.take_message() {
                // The request was never sent: the server closed between two requests.
                Some(request) => {
                    connection = self.connect().await?;
                    connection.send_request(request).await.map_err(told)?
                }
                None => return Err(told(error.into_error())),
            },
        };
        let status = answer.status();
        answer.into_body().collect().await.map_err(told)?;
        if status != http::StatusCode::OK {
            return Err(format!("status {status}"));
        }
        if self.keeps {
            *kept = Some(connection);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let stream = TcpStream::connect(self.server).await;
        let stream = stream.map_err(|error| format!("connecting: {}", error.kind()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let (sender, wire) = handshake(TokioIo::new(stream)).await.map_err(told)?;
        // The task ends with its connection, which ends with its sender.
        tokio::spawn(wire);
        Ok(sender)
    }
}

/// An error with its cause, to distinguish a reset from an early end.
fn told(error: hyper::Error) -> String {
    match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
