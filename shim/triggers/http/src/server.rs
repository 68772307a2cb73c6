//! The listener: accepts connections, keeps time for them, and brings them down.

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

/// How long nothing is accepted after the process has run out of descriptors or
/// memory: long enough for requests to end, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When nobody but probes has come for this long to a server that is going, all have
/// learnt of it. Kubernetes' proxies write their rules at most once a second, and where
/// few come, a second without anyone says little.
const QUIET: Duration = Duration::from_secs(2);

/// Connections beyond the limit that are taken nevertheless, so that the health endpoint
/// can be asked: what else they ask for is answered 503 while the limit is reached.
/// Where these are taken too, those without a request give way to new ones.
pub const SPARE_CONNECTIONS: usize = 64;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel gives no socket, or no timer to go with it.
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

/// Who is told that the server lives.
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
    /// Binds an address that nobody else has. From now on the kernel takes
    /// connections, and they wait until it is served ([`Http`](crate::Http)). `[::]` is every address of the
    /// host, those of IPv4 too; where the kernel has no IPv6, those of IPv4 alone.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn bind(address: SocketAddr, settings: &Settings) -> Result<Self, BindError> {
        Self::listen(address, settings, false)
    }

    /// Binds the same address once more, for another worker: the kernel spreads
    /// connections over all that are bound to it.
    ///
    /// # Errors
    /// When the kernel has no room for it.
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
            // What is shared from the start can be bound although it is taken, by
            // another process too.
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
    /// `false` when there are none any more: a server that does not is stuck.
    #[must_use]
    pub fn with_beats(self, beat: impl FnMut(bool) + Send + 'static) -> Self {
        Server {
            beats: Beats(Box::new(beat)),
            ..self
        }
    }

    /// The address that was bound; with port 0 the one that the kernel chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Numbers of this server, to be read while it serves and afterwards.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Serves until the run stops, then goes on accepting for the shutdown delay, finishes
    /// what runs, and returns when it has to have ended at the latest.
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
    // A restarted pod must not wait for connections of the last one to time out.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted sockets inherit it, which saves each a system call.
    sockopt::set_tcp_nodelay(&socket, true)?;
    if address.is_ipv6() {
        // What it is otherwise is for whoever set up the host to say.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    Ok(socket)
}

/// The address as the client knows it: where one listener has both families, those of
/// IPv4 come as addresses of IPv6.
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
    /// Accepts until `over` is ready, and returns what it becomes.
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

    /// Says that it is going, and goes on accepting from those who have not heard.
    async fn leave(&mut self, listener: &TcpListener, settings: &Settings, end: Instant) {
        let now = Instant::now();
        let end = now
            + settings
                .shutdown_delay
                .min(end.saturating_duration_since(now));
        self.limits.leave();
        // Clients of HTTP/2 can be told at once, those of HTTP/1 with an answer.
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

    /// Takes whoever is still in the queue, and closes it: the kernel has told them
    /// that their connections stand.
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

    /// Takes a connection in, or says until when to pause. Where there are `most` of
    /// them, an idle one gives way to it.
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

    /// Ends the connection that has been without a request for longest. Where it `must`
    /// be, also one that has only just come.
    fn make_room(&self, must: bool) {
        let idle = self.watches.values().filter_map(|watch| {
            let age = watch.idle_age()?;
            (must || age > 0).then_some((age, watch))
        });
        // Of two that are as old, the one that has come first.
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
        // Not as soon as the last one ends, as the next may come right after.
        self.ticker.turn(!self.watches.is_empty());
        (self.beats.0)(self.ticker.is_on());
    }

    async fn drain(mut self, end: Instant) -> DrainOutcome {
        // Twice around the loop, so that requests which have reached the kernel are
        // seen by their connections, new ones too, before these are told to end.
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

/// Errors that `accept` reports for a connection that is gone already.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
