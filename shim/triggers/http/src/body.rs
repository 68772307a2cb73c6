//! Bodies of requests.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::chain::NOBODY;
use crate::headers::{SpinHeaders, client};
use crate::watch::{STALLED, Watch};
use crate::{BoxError, Counters, Failure};

/// Why a request body is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than [`Settings::max_body_bytes`](crate::Settings::max_body_bytes).
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The client sent nothing for [`Settings::body_timeout`](crate::Settings::body_timeout).
    #[error("the client stopped sending the body")]
    TimedOut,
    /// The client left, reset the stream, or broke the framing.
    #[error("the body broke off")]
    Cut(#[source] BoxError),
}

/// The body of a request. It reads from the socket only when polled.
pub struct RequestBody {
    kind: Kind,
    peer: SocketAddr,
    spin: Option<SpinHeaders>,
}

enum Kind {
    Empty,
    /// Boxed, because most requests have no body, and each request is moved many times.
    Wire(Box<Wire>),
    Made(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>),
}

/// A body that comes from a connection.
struct Wire {
    incoming: Incoming,
    watch: Arc<Watch>,
    left: u64,
    waits: bool,
    failed: bool,
    /// HTTP/2 only, where the connection continues when one body stalls. Created when a
    /// body is first waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// A body created by another part of the process, for a request that did not come from
    /// the network.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        let kind = if body.is_end_stream() {
            Kind::Empty
        } else {
            Kind::Made(Box::pin(body))
        };
        RequestBody {
            kind,
            peer: NOBODY,
            spin: None,
        }
    }

    /// An empty body.
    pub fn empty() -> Self {
        RequestBody {
            kind: Kind::Empty,
            peer: NOBODY,
            spin: None,
        }
    }

    pub(crate) fn incoming(
        incoming: Incoming,
        watch: &Arc<Watch>,
        spin: Option<SpinHeaders>,
    ) -> Self {
        let peer = watch.peer;
        if incoming.is_end_stream() {
            return RequestBody {
                kind: Kind::Empty,
                peer,
                spin,
            };
        }
        watch.body_began();
        let left = watch.limits.max_body_bytes;
        let wire = Wire {
            incoming,
            watch: watch.clone(),
            left,
            waits: false,
            failed: false,
            timer: None,
        };
        RequestBody {
            kind: Kind::Wire(Box::new(wire)),
            peer,
            spin,
        }
    }

    pub(crate) fn comes_from(&mut self, peer: SocketAddr, spin: Option<SpinHeaders>) {
        self.peer = peer;
        self.spin = spin;
    }

    /// The client's address; `0.0.0.0:0` for a request created in this process.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the body comes from a client. Another part of the process may
    /// provide one only after it got the response.
    pub fn is_of_a_client(&self) -> bool {
        matches!(self.kind, Kind::Wire(_))
    }

    /// Adds a request's `spin-*` headers, once. Only for handlers that add them themselves
    /// ([`Handler::ADDS_SPIN_HEADERS`](crate::Handler::ADDS_SPIN_HEADERS)); for others it
    /// does nothing. Call it before the URI is changed.
    ///
    /// # Errors
    /// If the request has so many headers that no more can be added.
    pub fn add_spin_headers(request: &mut Request<RequestBody>) -> Result<(), Failure> {
        let body = request.body_mut();
        let Some(spin) = body.spin.take() else {
            return Ok(());
        };
        let client = client(body.peer);
        let uri = std::mem::take(request.uri_mut());
        let added = spin.add(&uri, client, request.headers_mut());
        *request.uri_mut() = uri;
        added
    }
}

impl Wire {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // hyper does not end a body of known length after its response was sent: it already
        // waits for the next request. So the end is detected here. (For a chunked body with
        // trailers this is not possible; it times out.)
        if self.failed || self.incoming.is_end_stream() {
            return Poll::Ready(None);
        }
        let result = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => match self.poll_patience(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => {
                    Counters::add(&self.watch.limits.counters.body_timeouts);
                    Some(Err(BodyError::TimedOut))
                }
            },
            Poll::Ready(Some(Err(_))) if self.watch.orders() & STALLED != 0 => {
                Some(Err(BodyError::TimedOut))
            }
            Poll::Ready(frame) => {
                frame.map(|frame| frame.map_err(|error| BodyError::Cut(error.into())))
            }
        };
        if self.waits {
            self.waits = false;
            self.watch.body_goes_on();
        }
        let result = result.map(|frame| frame.and_then(|frame| self.count(frame)));
        match &result {
            None => self.watch.body_was_read(),
            Some(Ok(_)) if self.incoming.is_end_stream() => self.watch.body_was_read(),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.failed = true,
        }
        Poll::Ready(result)
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(length) {
            Some(left) => {
                self.left = left;
                Ok(frame)
            }
            None => Err(BodyError::TooLarge {
                limit: self.watch.limits.max_body_bytes,
            }),
        }
    }

    /// Ready when the body has stalled for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let began = !self.waits;
        self.waits = true;
        if !self.watch.is_http2() {
            if began {
                self.watch.body_waits();
            }
            return Poll::Pending;
        }
        let timeout = self.watch.limits.body_timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if began {
            timer.as_mut().reset(Instant::now() + timeout);
        }
        timer.as_mut().poll(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.watch.body_ended();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Wire(wire) => wire.poll_frame(cx),
            Kind::Made(body) => body
                .as_mut()
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Cut))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Wire(wire) => wire.failed || wire.incoming.is_end_stream(),
            Kind::Made(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Wire(wire) => wire.incoming.size_hint(),
            Kind::Made(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody")
            .field("peer", &self.peer)
            .field("size", &self.size_hint())
            .finish()
    }
}
