//! A response's body on its way to a guest.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use skiff_host::HttpError;
use tokio::time::{Instant, Sleep};

use crate::faults;
use crate::pool::{Http1, Http2};

/// Beyond what anybody waits for, and within what a clock can count.
const LONGEST: Duration = Duration::from_secs(86_400 * 365);

/// A body, with the connection that it comes on.
pub(crate) struct Response {
    incoming: Incoming,
    /// How long each piece may take.
    patience: Duration,
    /// Made when a piece is first waited for.
    timer: Option<Pin<Box<Sleep>>>,
    waits: bool,
    connection: Option<Connection>,
}

/// What is held until the body has ended.
pub(crate) enum Connection {
    Http1(Http1),
    Http2(#[expect(dead_code, reason = "it counts as used until it is dropped")] Http2),
}

impl Response {
    pub(crate) fn new(incoming: Incoming, patience: Duration, connection: Connection) -> Self {
        let mut response = Response {
            incoming,
            patience,
            timer: None,
            waits: false,
            connection: Some(connection),
        };
        response.look_for_end();
        response
    }

    /// Frees the connection as soon as nothing more can come.
    fn look_for_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(Connection::Http1(connection)) = self.connection.take() {
            connection.give_back();
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = Instant::now() + self.patience.min(LONGEST);
        match &mut self.timer {
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(until))),
            Some(timer) if !self.waits => timer.as_mut().reset(until),
            Some(_) => {}
        }
        self.waits = true;
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Drop for Response {
    /// A guest may not care for the body. What has arrived of it is skipped; if that is not
    /// all, the connection is closed, and whoever takes it next notices.
    fn drop(&mut self) {
        self.end();
    }
}

impl Body for Response {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => match this.poll_patience(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    this.connection = None;
                    Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout)))
                }
            },
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.waits = false;
                this.look_for_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.connection = None;
                tracing::debug!(%error, "The body of a response broke off");
                Poll::Ready(Some(Err(faults::of_exchange(&error))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
