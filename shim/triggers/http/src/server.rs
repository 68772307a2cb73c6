//! The listener: accepts connections, drives their timeouts, and shuts them down.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use skiff_trigger::{DrainOutcome, Run};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::connection::Protocols;
use crate::route::RouterHandle;
use crate::ticker::{self, Ticker};
use crate::watch::{DRAIN, Limits, Watch};
use crate::{Counters, Handler, Settings};

/// How long to pause accepting when the process is out of descriptors or memory: long
/// enough for requests to end, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When only probes have connected to a stopping server for this long, all clients have
/// learnt of the stop. Kubernetes' proxies update their rules at most once a second, and
/// with little traffic, one second without a connection says little.
const QUIET: Duration = Duration::from_secs(2);

/// Connections accepted beyond the limit so that the health endpoint stays reachable: other
/// requests on them get 503 while the limit is reached. When these are used up too, those
/// without a request are closed for new ones.
pub const SPARE_CONNECTIONS: usize = 64;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel provides no socket, or no timer for it.
    #[error("cannot make a socket for {address}")]
    Socket {
        /// The requested address.
        address: SocketAddr,
        /// The kernel's error.
        source: io::Error,
    },
    /// The address is in use, not one of this host, or not permitted.
    #[error("cannot listen on {address}")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Called to signal that the server is alive.
struct Beats(Box<dyn FnMut(bool) + Send>);

impl fmt::Debug for Beats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Beats")
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    timer: OwnedFd,
    local: SocketAddr,
    settings: Settings,
    counters: Arc<Counters>,
    beats: Beats,
}

impl Server {
    /// Binds an address exclusively. From now on the kernel accepts connections, which wait
    /// until it is served ([`Http`](crate::Http)). `[::]` is every address of the host,
    /// including IPv4; if the kernel has no IPv6, IPv4 only.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(address: SocketAddr, settings: &Settings) -> Result<Self, BindError> {
        Self::listen(address, settings, false)
    }

    /// Binds the same address again, for another worker: the kernel distributes connections
    /// among all that are bound to it.
    ///
    /// # Errors
    /// If the kernel has no room for it.
    pub fn another(&self) -> Result<Self, BindError> {
        Self::listen(self.local, &self.settings, true)
    }

    fn listen(address: SocketAddr, settings: &Settings, shared: bool) -> Result<Self, BindError> {
        let no_socket = |source| BindError::Socket { address, source };
        let timer = ticker::timer().map_err(no_socket)?;
        let (socket, address) = match socket(address) {
            Err(Errno::AFNOSUPPORT) if address.ip().is_unspecified() => {
                let address = (Ipv4Addr::UNSPECIFIED, address.port()).into();
                (socket(address), address)
            }
            socket => (socket, address),
        };
        let socket = socket.map_err(|error| no_socket(error.into()))?;
        let listen = || {
            // A socket with a shared port binds even if the address is taken, by another
            // process too.
            sockopt::set_socket_reuseport(&socket, shared)?;
            rustix::net::bind(&socket, &address)?;
            sockopt::set_socket_reuseport(&socket, true)?;
            rustix::net::listen(&socket, settings.backlog.try_into().unwrap_or(i32::MAX))
        };
        listen().map_err(|error| BindError::Listen {
            address,
            source: error.into(),
        })?;
        let listener = StdListener::from(socket);
        let local = listener
            .local_addr()
            .map_err(|source| BindError::Listen { address, source })?;
        Ok(Server {
            listener,
            timer,
            local,
            settings: settings.clone(),
            counters: Arc::default(),
            beats: Beats(Box::new(|_| ())),
        })
    }

    /// Calls `beat` with `true` about every second while there are connections, and with
    /// `false` when there are none any more. Missing beats mean that the server is stuck.
    #[must_use]
    pub fn with_beats(self, beat: impl FnMut(bool) + Send + 'static) -> Self {
        Server {
            beats: Beats(Box::new(beat)),
            ..self
        }
    }

    /// The bound address; for port 0, with the port that the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// This server's counters, to be read while it serves and afterwards.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Serves until the run stops, continues accepting for the shutdown delay, finishes
    /// running requests, and returns by the run's end.
    pub(crate) async fn serve<H: Handler>(
        self,
        routes: RouterHandle<H>,
        mut run: Run,
    ) -> io::Result<DrainOutcome> {
        let health = run.health().clone();
        let limits = Arc::new(Limits::new(&self.settings, self.counters, health));
        let mut connections = Connections {
            tasks: JoinSet::new(),
            watches: HashMap::new(),
            protocols: Arc::new(Protocols::new(&self.settings)),
            ticker: Ticker::new(self.timer, limits.clock.tick())?,
            limits,
            routes,
            beats: self.beats,
        };
        let listener = TcpListener::from_std(self.listener)?;
        run.ready();
        let end = connections
            .accept_until(&listener, self.settings.max_connections, run.stopped())
            .await;
        let end = Instant::from_std(end);
        connections.leave(&listener, &self.settings, end).await;
        connections.accept_rest(listener.into_std()?);
        Ok(connections.drain(end).await)
    }
}

fn socket(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A restarted pod must not wait for the previous pod's connections to time out.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted sockets inherit it, which saves a system call for each.
    sockopt::set_tcp_nodelay(&socket, true)?;
    if address.is_ipv6() {
        // Otherwise the host's default applies.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    Ok(socket)
}

/// The address as the client knows it: a listener for both families sees IPv4 addresses as
/// IPv6 addresses.
fn plain(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V6(mapped) => match mapped.ip().to_ipv4_mapped() {
            Some(ip) => (ip, mapped.port()).into(),
            None => peer,
        },
        SocketAddr::V4(_) => peer,
    }
}

/// All connections of a server.
struct Connections<H> {
    tasks: JoinSet<()>,
    watches: HashMap<Id, Arc<Watch>>,
    protocols: Arc<Protocols>,
    limits: Arc<Limits>,
    ticker: Ticker,
    routes: RouterHandle<H>,
    beats: Beats,
}

impl<H: Handler> Connections<H> {
    /// Accepts until `over` is ready, and returns its result.
    async fn accept_until<T>(
        &mut self,
        listener: &TcpListener,
        most: usize,
        over: impl Future<Output = T>,
    ) -> T {
        let mut over = pin!(over);
        let mut pause = None;
        loop {
            tokio::select! {
                biased;
                over = &mut over => return over,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                ticked = self.ticker.tick(), if self.ticker.is_on() => self.ticked(ticked),
                () = sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => pause = None,
                accepted = listener.accept(), if pause.is_none() && self.tasks.len() < most + SPARE_CONNECTIONS => {
                    pause = self.accepted(accepted, most);
                }
            }
        }
    }

    /// Announces the stop, and continues accepting from clients that have not noticed.
    async fn leave(&mut self, listener: &TcpListener, settings: &Settings, end: Instant) {
        let now = Instant::now();
        let end = now
            + settings
                .shutdown_delay
                .min(end.saturating_duration_since(now));
        self.limits.leave();
        // HTTP/2 clients can be notified at once, HTTP/1 clients with a response.
        let http2 = self.watches.values().filter(|watch| watch.is_http2());
        http2.for_each(|watch| watch.order(DRAIN));
        loop {
            let before = self.limits.comers();
            let pause = QUIET.min(end.saturating_duration_since(Instant::now()));
            if pause.is_zero() {
                return;
            }
            let over = tokio::time::sleep(pause);
            self.accept_until(listener, settings.max_connections, over)
                .await;
            if self.limits.comers() <= before {
                return;
            }
        }
    }

    /// Takes the connections that are still in the queue, and closes the listener: the
    /// kernel has already established them.
    fn accept_rest(&mut self, listener: StdListener) {
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            match stream {
                Ok(stream) => self.spawn(stream, peer, false),
                Err(error) => tracing::warn!(%error, %peer, "cannot watch a connection"),
            }
        }
    }

    /// Takes a connection, or returns until when to pause. If there are already `most`, an
    /// idle one is closed for it.
    fn accepted(
        &mut self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
        most: usize,
    ) -> Option<Instant> {
        match accepted {
            Ok((stream, peer)) => {
                let connections = self.tasks.len();
                if connections >= most {
                    self.make_room(connections + 1 >= most + SPARE_CONNECTIONS);
                }
                self.spawn(stream, peer, connections >= most);
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

    /// Closes the connection that has been idle for longest. With `must`, even one that has
    /// only just been accepted.
    fn make_room(&self, must: bool) {
        let idle = self.watches.values().filter_map(|watch| {
            let age = watch.idle_age()?;
            (must || age > 0).then_some((age, watch))
        });
        // Of two with the same age, the one accepted first.
        let longest = idle.max_by_key(|(age, watch)| (*age, u64::MAX - watch.number));
        if let Some((_, watch)) = longest {
            Counters::add(&self.limits.counters.gave_way);
            watch.give_way();
        }
    }

    fn spawn(&mut self, stream: TcpStream, peer: SocketAddr, spare: bool) {
        Counters::add(&self.limits.counters.connections);
        Counters::add(&self.limits.counters.open_connections);
        let watch = Arc::new(Watch::new(self.limits.clone(), plain(peer), spare));
        let task = self
            .protocols
            .clone()
            .serve(stream, self.routes.clone(), watch.clone());
        self.watches.insert(self.tasks.spawn(task).id(), watch);
        if !self.ticker.is_on() {
            self.ticker.turn(true);
            (self.beats.0)(true);
        }
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
        if let Some(watch) = self.watches.remove(&id) {
            watch.ended();
        }
    }

    fn ticked(&mut self, ticked: io::Result<()>) {
        if let Err(error) = ticked {
            tracing::error!(%error, "cannot read the timer");
        }
        self.limits.clock.advance();
        self.watches.values().for_each(|watch| watch.sweep());
        // Not when the last one ends, as the next may come right after.
        self.ticker.turn(!self.watches.is_empty());
        (self.beats.0)(self.ticker.is_on());
    }

    async fn drain(mut self, end: Instant) -> DrainOutcome {
        // Twice around the loop, so that connections, including new ones, see requests that
        // have reached the kernel before they are ordered to end.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        self.watches.values().for_each(|watch| watch.order(DRAIN));
        let mut end = pin!(sleep_until(end));
        loop {
            tokio::select! {
                biased;
                ended = self.tasks.join_next_with_id() => match ended {
                    Some(ended) => self.ended(ended),
                    None => return DrainOutcome::Finished,
                },
                () = &mut end => break,
                ticked = self.ticker.tick(), if self.ticker.is_on() => self.ticked(ticked),
            }
        }
        let connections = self.tasks.len();
        self.tasks.shutdown().await;
        self.limits
            .counters
            .open_connections
            .fetch_sub(connections as u64, Relaxed);
        tracing::warn!(connections, "the drain limit has passed; closing");
        DrainOutcome::Cut { left: connections }
    }
}

/// Errors of `accept` about a connection that is already gone.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
