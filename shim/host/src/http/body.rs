//! Response bodies: whole where the guest had finished, else a stream that drives
//! the guest while it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use wasmtime_wasi_http::{Error, WasiBody};

use super::one_line;
use super::p2::Instance;

/// A response's body.
pub enum Payload {
    /// All of it.
    Full(Bytes),
    /// As the guest writes it.
    Stream(Box<GuestBody>),
}

/// A body that a guest is still writing.
pub struct GuestBody {
    component: Arc<str>,
    /// Frames that were there when the head was sent.
    ready: std::collections::VecDeque<Frame<Bytes>>,
    body: WasiBody,
    /// The instance, where it is driven by whoever reads the body.
    guest: Option<Instance>,
}

impl GuestBody {
    pub(crate) fn new(component: Arc<str>, body: WasiBody, guest: Option<Instance>) -> Self {
        GuestBody {
            component,
            ready: Default::default(),
            body,
            guest,
        }
    }

    /// Takes what can be read without waiting. Most guests have written
    /// everything by now, and then the response needs no chunks.
    pub(crate) fn settle(mut self, cx: &mut Context<'_>) -> Payload {
        if self.guest.is_some() {
            return Payload::Stream(Box::new(self));
        }
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => {
                    let one = self.ready.len() <= 1 && self.ready.iter().all(Frame::is_data);
                    if !one {
                        return Payload::Stream(Box::new(self));
                    }
                    let data = self.ready.pop_front().map(Frame::into_data);
                    return Payload::Full(data.and_then(Result::ok).unwrap_or_default());
                }
                Poll::Ready(Some(Ok(frame))) => self.ready.push_back(frame),
                Poll::Ready(Some(Err(_))) | Poll::Pending => {
                    return Payload::Stream(Box::new(self));
                }
            }
        }
    }

    fn cut(&mut self, error: &wasmtime::Error) -> Error {
        tracing::error!(component_id = %self.component, error = %one_line(error), "Guest failed after its response head; the body is cut");
        Error::HttpResponseIncomplete
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(frame) = this.ready.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(guest) = &mut this.guest {
            match guest.poll(cx) {
                Poll::Ready(Ok(())) => this.guest = None,
                Poll::Ready(Err(error)) => {
                    this.guest = None;
                    return Poll::Ready(Some(Err(this.cut(&error))));
                }
                Poll::Pending => {}
            }
        }
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx));
        if frame.is_none() {
            // The guest may do other work; nobody needs to read for it to go on.
            this.guest = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.guest.is_none() && self.body.is_end_stream()
    }
}

/// Whether trailers were declared, for a debug view.
impl std::fmt::Debug for GuestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestBody")
            .field("component", &self.component)
            .field("guest_runs", &self.guest.is_some())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Payload::Full(bytes) => f.debug_tuple("Full").field(&bytes.len()).finish(),
            Payload::Stream(body) => f.debug_tuple("Stream").field(body).finish(),
        }
    }
}

/// Reads a whole payload; for tests and small answers.
impl Payload {
    /// All bytes and the trailers.
    ///
    /// # Errors
    /// Where the guest fails on the way.
    pub async fn collect(self) -> Result<(Bytes, Option<HeaderMap>), Error> {
        use http_body_util::BodyExt as _;
        match self {
            Payload::Full(bytes) => Ok((bytes, None)),
            Payload::Stream(body) => {
                let collected = (*body).collect().await?;
                let trailers = collected.trailers().cloned();
                Ok((collected.to_bytes(), trailers))
            }
        }
    }
}
