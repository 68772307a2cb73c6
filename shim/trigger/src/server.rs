//! The listener: accepts connections, keeps time for them, and brings them down.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::connection::Protocols;
use crate::route::RouterHandle;
use crate::watch::{DRAIN, Limits, Watch};
use crate::{Counters, Handler, Settings};

/// How long nothing is accepted after the process has run out of descriptors or
/// memory: long enough for requests to end, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel gives no socket.
    #[error("cannot make a socket for {address}")]
    Socket {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The address is in use, not of this host, or not allowed.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How a server came down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum DrainOutcome {
    /// Every request was finished.
    Finished,
    /// The drain limit passed.
    Cut {
        /// Connections that were closed with a request on them.
        connections: usize,
    },
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    local: SocketAddr,
    settings: Settings,
    counters: Arc<Counters>,
}

impl Server {
    /// Binds an address. From now on the kernel takes connections, and they wait for
    /// [`Server::serve`].
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn bind(address: SocketAddr, settings: &Settings) -> Result<Self, BindError> {
        let socket = socket(address, settings).map_err(|source| BindError::Socket { address, source })?;
        let listen = || {
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, settings.backlog.try_into().unwrap_or(i32::MAX))
        };
        listen().map_err(|error| BindError::Listen { address, source: error.into() })?;
        let listener = StdListener::from(socket);
        let local = listener.local_addr().map_err(|source| BindError::Listen { address, source })?;
        Ok(Server { listener, local, settings: settings.clone(), counters: Arc::default() })
    }

    /// The address that was bound; with port 0 the one that the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Numbers of this server, to be read while it serves and afterwards.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Serves until `shutdown` is ready, then accepts no more, finishes what runs, and
    /// returns at the drain limit at the latest. Dropping the future ends everything
    /// at once.
    ///
    /// Runs on the runtime that polls it, which is meant to be a current-thread one,
    /// with its I/O and time drivers on; several servers on one port
    /// ([`Settings::reuse_port`]) are the way to more cores.
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one without I/O or time.
    pub async fn serve<H: Handler>(
        self,
        routes: impl Into<RouterHandle<H>>,
        shutdown: impl Future<Output = ()>,
    ) -> DrainOutcome {
        let mut connections = Connections::new(&self, routes.into());
        let drain_limit = self.settings.drain_limit;
        match TcpListener::from_std(self.listener) {
            Ok(listener) => connections.accept_until(listener, self.settings.max_connections, shutdown).await,
            // The socket is ours and non-blocking: only a runtime without descriptors gets here.
            Err(error) => tracing::error!(%error, address = %self.local, "cannot watch the listener"),
        }
        connections.drain(drain_limit).await
    }
}

fn socket(address: SocketAddr, settings: &Settings) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A restarted pod must not wait for connections of the last one to time out.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if settings.reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    // Accepted sockets inherit it, which saves each a system call.
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

/// All connections of a server.
struct Connections<H> {
    tasks: JoinSet<()>,
    watches: HashMap<Id, Arc<Watch>>,
    protocols: Arc<Protocols>,
    limits: Arc<Limits>,
    routes: RouterHandle<H>,
}

impl<H: Handler> Connections<H> {
    fn new(server: &Server, routes: RouterHandle<H>) -> Self {
        Connections {
            tasks: JoinSet::new(),
            watches: HashMap::new(),
            protocols: Arc::new(Protocols::new(&server.settings)),
            limits: Arc::new(Limits::new(&server.settings, server.counters.clone())),
            routes,
        }
    }

    async fn accept_until(&mut self, listener: TcpListener, most: usize, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut ticks = interval(self.limits.clock.tick());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = None;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                _ = ticks.tick(), if !self.watches.is_empty() => self.tick(),
                () = sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => pause = None,
                accepted = listener.accept(), if pause.is_none() && self.tasks.len() < most => {
                    pause = self.accepted(accepted);
                }
            }
        }
        // Whoever is in the queue was told by the kernel that the connection stands.
        while let Some(Ok((stream, peer))) = at_once(listener.accept()).await {
            self.spawn(stream, peer);
        }
    }

    /// Takes a connection in, or says until when to pause.
    fn accepted(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<Instant> {
        match accepted {
            Ok((stream, peer)) => {
                self.spawn(stream, peer);
                None
            }
            Err(error) => {
                Counters::add(&self.limits.counters.accept_errors);
                if is_of_the_client(&error) {
                    return None;
                }
                tracing::warn!(%error, "cannot accept connections; trying again shortly");
                Some(Instant::now() + ACCEPT_PAUSE)
            }
        }
    }

    fn spawn(&mut self, stream: TcpStream, peer: SocketAddr) {
        Counters::add(&self.limits.counters.connections);
        Counters::add(&self.limits.counters.open_connections);
        let watch = Arc::new(Watch::new(self.limits.clone(), peer));
        let task = self.protocols.clone().serve(stream, self.routes.clone(), watch.clone());
        self.watches.insert(self.tasks.spawn(task).id(), watch);
    }

    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a connection's task panicked");
                }
                error.id()
            }
        };
        self.limits.counters.open_connections.fetch_sub(1, Relaxed);
        self.watches.remove(&id);
    }

    fn tick(&self) {
        self.limits.clock.advance();
        self.watches.values().for_each(|watch| watch.sweep());
    }

    async fn drain(mut self, limit: Duration) -> DrainOutcome {
        // Once around the loop, so that requests which have reached the kernel are
        // seen by their connections before these are told to end.
        tokio::task::yield_now().await;
        self.watches.values().for_each(|watch| watch.order(DRAIN));
        let mut end = pin!(tokio::time::sleep(limit));
        let mut ticks = interval(self.limits.clock.tick());
        loop {
            tokio::select! {
                biased;
                ended = self.tasks.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended),
                    None => return DrainOutcome::Finished,
                },
                () = &mut end => break,
                _ = ticks.tick() => self.tick(),
            }
        }
        let connections = self.tasks.len();
        self.tasks.shutdown().await;
        self.limits.counters.open_connections.fetch_sub(connections as u64, Relaxed);
        tracing::warn!(connections, "the drain limit has passed; closing");
        DrainOutcome::Cut { connections }
    }
}

/// What a future gives without waiting.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// Errors that `accept` reports for a connection that is gone already.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
