//! The operator's settings, as plain values; each default is explained where it is defined.

use std::time::Duration;

/// Cookies and tokens of real clients reach 16 to 32 KiB, and the defaults of Go and nginx
/// are between half and double of this. It leaves room and still bounds what one connection
/// can make the server hold before routing.
pub const DEFAULT_MAX_HEADER_BYTES: usize = 64 * 1024;

/// Browsers send about 20 headers and meshes add about 20 more. Up to this number hyper
/// parses headers on the stack; any other value costs an allocation per request.
pub const DEFAULT_MAX_HEADER_COUNT: usize = 100;

/// A head is a few packets: ten seconds is long on the worst network, and short enough that
/// connections that trickle bytes cannot pile up.
pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Load balancers close idle connections after 60 seconds. The server has to keep them
/// longer, or requests are sent on connections that are just being closed.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a handler waits for the next piece of a request body. A minute is enough for a
/// phone that changes networks, and frees the instance of a client that died.
pub const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a request continues after its client has closed its side of the connection: the
/// client has left or has only finished sending, which shows only when something is
/// written. Proxies and their clients give up after a minute.
pub const DEFAULT_GONE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may leave a full socket unread; the counterpart of the body timeout.
pub const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// An idle connection costs some 12 to 20 kB, and ingresses keep a few hundred open. This
/// is below the usual limit of 1,024 open files.
pub const DEFAULT_MAX_CONNECTIONS: usize = 900;

/// hyper's buffer limit for one HTTP/1 connection in each direction. Larger buffers do not
/// make bodies faster below 100 Gbit/s, and slow readers fill them.
pub const DEFAULT_MAX_BUFFER_BYTES: usize = 128 * 1024;

/// The smallest [`Settings::max_buffer_bytes`].
pub const MIN_BUFFER_BYTES: usize = 8192;

/// What every HTTP/2 client supports (RFC 9113 recommends no less than 100).
pub const DEFAULT_MAX_STREAMS: u32 = 100;

/// Streams a client may reset before the server has accepted them. More of them at once is
/// the rapid-reset attack, and the connection is closed.
pub const DEFAULT_MAX_RESETS: usize = 20;

/// None: a server stopped by hand should end at once. Behind a load balancer, its owner
/// configures the time to look elsewhere.
pub const DEFAULT_SHUTDOWN_DELAY: Duration = Duration::ZERO;

/// Connections the kernel queues while the server is busy: a one-second burst at the rate a
/// single core accepts would be more, but clients retry.
pub const DEFAULT_BACKLOG: u32 = 1024;

/// How a [`Server`](crate::Server) listens and what it allows its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of a request head, including the request line. More is answered 431.
    pub max_header_bytes: usize,
    /// Most headers of a request. More is answered 431. Values above 24,000 count as 24,000.
    pub max_header_count: usize,
    /// Time for a whole request head, from its first byte (for the first one, from the
    /// connection's start). An incomplete head is answered 408.
    pub header_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// How long a handler waits for more of a body before it gets
    /// [`BodyError::TimedOut`](crate::BodyError::TimedOut).
    pub body_timeout: Duration,
    /// How long an HTTP/1 client that has closed its own side of the connection may wait
    /// for its response. Then the handler is dropped.
    pub gone_timeout: Duration,
    /// How long a client may read nothing of a response before it is cut off.
    pub write_timeout: Duration,
    /// Connections at once. For one more, the one that has been idle for longest is closed;
    /// if none is idle, [`SPARE_CONNECTIONS`](crate::SPARE_CONNECTIONS) more are accepted,
    /// for health checks only.
    pub max_connections: usize,
    /// Most bytes of a request body; `None` means no limit. A longer `content-length` is
    /// answered 413; a longer body without one gives its reader an error.
    pub max_body_bytes: Option<u64>,
    /// Buffer of an HTTP/1 connection, at least [`MIN_BUFFER_BYTES`] (less counts as that).
    pub max_buffer_bytes: usize,
    /// HTTP/2 streams at once on one connection.
    pub max_streams: u32,
    /// HTTP/2 streams that may be reset before they are accepted.
    pub max_resets: usize,
    /// How long connections are still accepted after the stop, at most: load balancers
    /// learn of it a little later. It ends as soon as only probes have connected for two
    /// seconds, and it is part of the drain limit.
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
