//! One connection, from its first bytes to its end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use tokio::net::TcpStream;

use crate::failure::chain;
use crate::io::Io;
use crate::route::RouterHandle;
use crate::service::Service;
use crate::settings::{DEFAULT_MAX_HEADER_COUNT, MIN_BUFFER_BYTES, Settings};
use crate::streams::Streams;
use crate::watch::{CLOSE, DRAIN, LATE_HEAD, Watch};
use crate::{Counters, Handler};

/// The header map has no room for more headers than this together with those that every
/// guest is given.
pub(crate) const MOST_HEADERS: usize = 24_000;

/// The response for a request head that is never completed: hyper has no request that it
/// could answer.
fn last_word(status: StatusCode) -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: {date}\r\n\r\n")
}

/// How both protocols are configured.
#[derive(Debug)]
pub(crate) struct Protocols {
    http1: http1::Builder,
    max_header_bytes: u32,
    max_streams: u32,
    max_resets: usize,
}

impl Protocols {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut http1 = http1::Builder::new();
        // The watch keeps timeouts, without a timer per request.
        http1.header_read_timeout(None);
        // `Io` checks whether a client that has closed its side is gone.
        http1.half_close(true);
        http1.max_header_size(settings.max_header_bytes);
        http1.max_buf_size(settings.max_buffer_bytes.max(MIN_BUFFER_BYTES));
        if settings.max_header_count != DEFAULT_MAX_HEADER_COUNT {
            http1.max_headers(settings.max_header_count.min(MOST_HEADERS));
        }
        Protocols {
            http1,
            max_header_bytes: settings.max_header_bytes.try_into().unwrap_or(u32::MAX),
            max_streams: settings.max_streams,
            max_resets: settings.max_resets,
        }
    }

    fn http2(&self, watch: &Arc<Watch>) -> http2::Builder<Streams> {
        let mut http2 = http2::Builder::new(Streams(watch.clone()));
        http2.max_header_list_size(self.max_header_bytes);
        http2.max_concurrent_streams(self.max_streams);
        http2.max_pending_accept_reset_streams(self.max_resets);
        http2
    }

    /// Serves one connection until it ends or is ordered to.
    pub(crate) async fn serve<H: Handler>(
        self: Arc<Self>,
        stream: TcpStream,
        routes: RouterHandle<H>,
        watch: Arc<Watch>,
    ) {
        let service = Service::new(routes, watch.clone());
        let service = service_fn(move |request: Request<Incoming>| service.call(request));
        let io = Io::new(stream, watch.clone());
        let mut http1 = self.http1.serve_connection(io, service);
        let ended = run(
            Pin::new(&mut http1),
            |http1| http1.graceful_shutdown(),
            &watch,
        )
        .await;
        let word = match &ended {
            Ended::Closed => return,
            Ended::Itself(_) if watch.is_http2() => None,
            Ended::Itself(Some(error)) if error.is_incomplete_message() => {
                Some(StatusCode::BAD_REQUEST)
            }
            Ended::Itself(error) => {
                error.iter().for_each(|error| tell(error, &watch));
                return;
            }
            Ended::Late => Some(StatusCode::REQUEST_TIMEOUT),
        };
        let parts = http1.into_parts();
        if parts.io.is_http2() {
            // Boxed, so that ordinary connections do not carry its size.
            let mut http2 = Box::pin(self.http2(&watch).serve_connection(parts.io, parts.service));
            let ended = run(http2.as_mut(), |http2| http2.graceful_shutdown(), &watch).await;
            if let Ended::Itself(Some(error)) = ended {
                tell(&error, &watch);
            }
        } else if let Some(status) = word
            && !parts.read_buf.is_empty()
            && !watch.is_serving()
        {
            if let Ended::Itself(Some(error)) = &ended {
                tell(error, &watch);
            }
            parts.io.say(last_word(status).as_bytes());
        }
    }
}

/// How a connection ended.
enum Ended {
    /// By its protocol, or by an error that the handler or the client has seen.
    Itself(Option<hyper::Error>),
    /// By order.
    Closed,
    /// By order, because a request head took too long.
    Late,
}

/// Logs how a connection ended. hyper has answered violations of HTTP/1 itself.
#[cold]
fn tell(error: &hyper::Error, watch: &Watch) {
    let peer = watch.peer;
    if error.is_parse() || error.is_incomplete_message() && !watch.is_serving() {
        Counters::add(&watch.limits.counters.bad_requests);
        tracing::warn!(error = chain(error), %peer, "request refused");
    } else {
        tracing::debug!(error = chain(error), %peer, "connection ended");
    }
}

/// Drives a connection and follows the watch's orders.
async fn run<C>(
    mut connection: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>),
    watch: &Watch,
) -> Ended
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut attended = false;
    let mut drains = false;
    poll_fn(|cx| {
        if !attended {
            watch.attend(cx.waker());
            attended = true;
        }
        loop {
            let orders = watch.orders();
            if orders & CLOSE != 0 {
                return Poll::Ready(Ended::Closed);
            }
            // Polled first, so that a request that has just arrived is not lost.
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(Ended::Itself(result.err()));
            }
            if orders & LATE_HEAD != 0 {
                return Poll::Ready(Ended::Late);
            }
            if orders & DRAIN == 0 || drains {
                return Poll::Pending;
            }
            shut_down(connection.as_mut());
            drains = true;
        }
    })
    .await
}
