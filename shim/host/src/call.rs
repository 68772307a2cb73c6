//! How guests are called: with an HTTP request, through either version of WASI or the
//! interface of Spin 1, or as a command that runs to its end.

mod body;
mod command;
mod kind;
mod p2;
mod p3;
mod preview1;
mod running;
mod spin;
mod wagi;
mod whole;

use std::future::Future as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use skiff_engine::{Busy, Limits, Ticks};
use wasmtime_wasi_http::Error;

pub use body::{Cut, GuestBody, Payload};
pub use command::{Command, CommandError};
pub use kind::{ComponentKind, ImportError, Wanted, kind};
pub(crate) use p2::P2;
pub(crate) use p3::P3;
pub(crate) use preview1::Preview1;
pub use running::Guests as Guest;
pub use spin::SpinHttp;
pub use wagi::Wagi;

/// Why a guest did not respond.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// It trapped, or a host function failed.
    #[error("the guest failed: {}", one_line(.0))]
    Trap(wasmtime::Error),
    /// It returned without a response.
    #[error("the guest returned without a response")]
    NoResponse,
    /// It answered with an error code instead of a response.
    #[error("the guest answered with an error: {0}")]
    Refused(String),
    /// It took longer than the deadline of a request.
    #[error("the guest took longer than {0:?}")]
    Deadline(Duration),
    /// No instance was free.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// It could not be instantiated.
    #[error("the guest cannot be instantiated: {}", one_line(.0))]
    Instantiate(wasmtime::Error),
    /// What it answered is not a response.
    #[error("the guest's answer cannot be passed on: {0}")]
    Answer(String),
    /// The request's body is incomplete, and the guest takes whole ones.
    #[error(transparent)]
    Body(BodyFault),
    /// The request cannot be passed to a guest.
    #[error("the request cannot be passed on: {}", one_line(.0))]
    Request(wasmtime::Error),
}

/// The message of a trap without its backtrace, for one log line.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
        return trap.to_string();
    }
    let text = format!("{:#}", error.root_cause());
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Polls regardless of tokio's cooperative budget. A source that is polled for the last
/// time would otherwise return pending when the budget is used up, and a guest that has
/// ended well would look unfinished.
pub(crate) fn without_budget<T>(
    cx: &mut Context<'_>,
    poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let once = std::pin::pin!(tokio::task::unconstrained(std::future::poll_fn(poll)));
    once.poll(cx)
}

/// How instances serve more than one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Whether WASI 0.2 instances are reused, one request after the other. WASI 0.3
    /// instances are always reused, as in Spin.
    pub wasi_0_2: bool,
    /// Requests an instance serves in its lifetime.
    pub requests: usize,
    /// Simultaneous requests of a WASI 0.3 instance.
    pub concurrent: usize,
    /// How long an instance waits for its next request.
    pub idle: Duration,
}

impl Default for Reuse {
    /// Spin's defaults.
    fn default() -> Self {
        Reuse {
            wasi_0_2: false,
            // Rare enough that a leak in a guest stays small.
            requests: 128,
            // Waiting guests share an instance; computing guests do not queue behind each
            // other for long.
            concurrent: 16,
            // Outlasts the gaps of a busy client, not a quiet minute.
            idle: Duration::from_secs(1),
        }
    }
}

/// A component that answers HTTP requests, ready to be instantiated.
pub enum HttpGuest {
    /// `wasi:http/incoming-handler@0.2`.
    P2(Arc<P2>),
    /// `wasi:http/handler@0.3`.
    P3(P3),
    /// `fermyon:spin/inbound-http`.
    Spin(SpinHttp),
    /// A command, as WAGI runs it.
    Wagi(Wagi),
}

impl HttpGuest {
    /// Passes a request to an instance and waits for the response head. The body follows as
    /// the guest writes it and owns the guest, which continues, tracked by [`Guest`], when
    /// the body is dropped.
    ///
    /// # Errors
    /// [`GuestError`], with a variant for each way a guest can fail before its head.
    pub async fn handle<B>(
        &self,
        request: http::Request<B>,
    ) -> Result<http::Response<Payload>, GuestError>
    where
        B: Body<Data = Bytes, Error = BodyFault> + Send + 'static,
    {
        match self {
            HttpGuest::P2(guest) => guest.handle(request).await,
            HttpGuest::P3(guest) => guest.handle(request).await,
            HttpGuest::Spin(guest) => guest.handle(request).await,
            HttpGuest::Wagi(guest) => guest.handle(request).await,
        }
    }
}

/// Why a request's body is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It is larger than this many bytes.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(u64),
    /// The client stopped sending.
    #[error("the client stopped sending")]
    TimedOut,
    /// The connection broke.
    #[error("the connection broke")]
    Cut,
}

impl From<BodyFault> for Error {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge(limit) => Error::HttpRequestBodySize(Some(limit)),
            BodyFault::TimedOut => Error::ConnectionReadTimeout,
            BodyFault::Cut => Error::ConnectionTerminated,
        }
    }
}

/// The conditions under which a guest runs.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) limits: Limits,
    pub(crate) reuse: Reuse,
    pub(crate) ticks: Ticks,
}
