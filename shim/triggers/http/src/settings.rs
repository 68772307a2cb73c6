//! What an operator may turn: plain values, each default argued for where it stands.

use std::time::Duration;

/// Cookies and tokens of real clients reach 16 to 32 KiB, and what Go's and nginx's servers
/// allow is between a half and the double of this. It leaves room and still bounds what one connection can make the server hold before it is routed.
pub const DEFAULT_MAX_HEADER_BYTES: usize = 64 * 1024;

/// Browsers send about 20 and meshes add about 20 more. Up to this number hyper
/// parses headers on the stack; any other value costs an allocation a request.
pub const DEFAULT_MAX_HEADER_COUNT: usize = 100;

/// A head is a few packets: ten seconds is long on the worst network, and short
/// enough that connections which trickle bytes cannot pile up.
pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Load balancers give up idle connections after 60 seconds. The server has to keep
/// them longer, or requests are sent on connections that are just being closed.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a handler waits for the next piece of a request body. A minute outlasts
/// a phone that changes networks, and frees the instance of a client that died.
pub const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a request goes on whose client has closed its side of the connection: it has
/// left, or has only finished sending, and nobody can tell until something is written.
/// What waits for answers behind proxies gives up after a minute.
pub const DEFAULT_GONE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may leave a full socket unread; the mirror of the body timeout.
pub const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// An idle connection costs some 12 to 20 kB, and ingresses keep a few hundred open. This
/// is below the usual limit of 1,024 open files.
pub const DEFAULT_MAX_CONNECTIONS: usize = 900;

/// What hyper may buffer for one HTTP/1 connection in each direction. Larger buffers
/// do not make bodies faster on this side of 100 Gbit/s, and slow readers fill them.
pub const DEFAULT_MAX_BUFFER_BYTES: usize = 128 * 1024;

/// The least that [`Settings::max_buffer_bytes`] can be.
pub const MIN_BUFFER_BYTES: usize = 8192;

/// What every HTTP/2 client copes with (RFC 9113 asks for no less than 100).
pub const DEFAULT_MAX_STREAMS: u32 = 100;

/// Streams a client may reset before the server has taken them up. More of them at
/// once is the rapid-reset attack, and the connection is closed.
pub const DEFAULT_MAX_RESETS: usize = 20;

/// None: who ends a server by hand wants it gone. Where something balances load over
/// servers, its owner gives it the time to look elsewhere.
pub const DEFAULT_SHUTDOWN_DELAY: Duration = Duration::ZERO;

/// Connections the kernel holds while the server is busy: a burst of one second at
/// the rate a single core accepts would be more, but clients retry.
pub const DEFAULT_BACKLOG: u32 = 1024;

/// How a [`Server`](crate::Server) listens and what it allows its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of a request head, the request line included. More is answered 431.
    pub max_header_bytes: usize,
    /// Most headers of a request. More is answered 431. Values above 24,000 count as 24,000.
    pub max_header_count: usize,
    /// Time for a whole request head, from its first byte (from the connection's
    /// start for the first one). What was begun is answered 408.
    pub header_timeout: Duration,
    /// How long a connection may rest between requests.
    pub idle_timeout: Duration,
    /// How long a handler waits for more of a body before it gets
    /// [`BodyError::TimedOut`](crate::BodyError::TimedOut).
    pub body_timeout: Duration,
    /// How long an answer may take to a client of HTTP/1 that has closed its own side of
    /// the connection. Then the handler is dropped.
    pub gone_timeout: Duration,
    /// How long a client may take nothing of a response before it is cut off.
    pub write_timeout: Duration,
    /// Connections at once. For one more, the one that has been idle for longest gives
    /// way; where none is idle, [`SPARE_CONNECTIONS`](crate::SPARE_CONNECTIONS) more are
    /// taken, and only asked for health.
    pub max_connections: usize,
    /// Most bytes of a request body; none means no limit. A longer `content-length`
    /// is answered 413, a longer body without one is an error to its reader.
    pub max_body_bytes: Option<u64>,
    /// Buffer of an HTTP/1 connection, at least [`MIN_BUFFER_BYTES`] (less counts as that).
    pub max_buffer_bytes: usize,
    /// HTTP/2 streams at once on one connection.
    pub max_streams: u32,
    /// HTTP/2 streams that may be reset before they are taken up.
    pub max_resets: usize,
    /// How long connections are still taken once the server was told to stop, at most:
    /// whoever balances load learns of it a little later. It is over as soon as
    /// none but probes has come for two seconds, and it is part of the drain limit.
    pub shutdown_delay: Duration,
    /// One log line for each request.
    pub access_log: bool,
    /// Connections that wait in the kernel to be accepted.
    pub backlog: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_header_bytes: DEFAULT_MAX_HEADER_BYTES,
            max_header_count: DEFAULT_MAX_HEADER_COUNT,
            header_timeout: DEFAULT_HEADER_TIMEOUT,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            body_timeout: DEFAULT_BODY_TIMEOUT,
            gone_timeout: DEFAULT_GONE_TIMEOUT,
            write_timeout: DEFAULT_WRITE_TIMEOUT,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_body_bytes: None,
            max_buffer_bytes: DEFAULT_MAX_BUFFER_BYTES,
            max_streams: DEFAULT_MAX_STREAMS,
            max_resets: DEFAULT_MAX_RESETS,
            shutdown_delay: DEFAULT_SHUTDOWN_DELAY,
            access_log: false,
            backlog: DEFAULT_BACKLOG,
        }
    }
}
