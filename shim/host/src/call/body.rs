//! Response bodies: complete if the guest had finished, else a stream that drives the guest
//! while it is read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode, response};
use http_body::{Body, Frame};
use wasmtime_wasi_http::{Error, WasiBody};

use super::p2::{Instance, Returned};
use super::p3::{Kept, Waiting};
use super::{one_line, without_budget};

/// A response's body.
pub enum Payload {
    /// The complete body.
    Full(Bytes),
    /// As the guest writes it.
    Stream(Box<GuestBody>),
}

/// Why a response's body is incomplete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// The guest trapped, or took too long.
    #[error("the guest failed after its response head: {0}")]
    Failed(String),
    /// The guest ended, or dropped the body, before finishing it.
    #[error("the guest left the body of its response unfinished")]
    Unfinished,
    /// The guest itself reported that the body failed.
    #[error("the guest ended the body of its response with an error: {0}")]
    Refused(String),
}

/// A body that a guest is still writing.
pub struct GuestBody {
    /// Frames that were available when the head was sent, or when the guest ended.
    ready: VecDeque<Frame<Bytes>>,
    /// `None` if everything is in `ready`.
    source: Option<Source>,
    /// Why it is incomplete, until the reader has got this error.
    failed: Option<Cut>,
    owed: Owed,
}

/// The source of a body, with the guest that writes it.
pub(crate) enum Source {
    /// An instance used by one request, driven by the reader of the body.
    P2(WasiBody, Option<Instance>),
    /// An instance that drives itself.
    P3(Arc<Kept>, Waiting),
}

/// What the client expects.
#[derive(Debug, Clone, Copy, Default)]
struct Owed {
    /// Bytes that the head has promised and that were not passed on yet.
    left: Option<u64>,
    /// The client takes no body, whatever the guest writes.
    nothing: bool,
}

impl Owed {
    fn new(head: &response::Parts, to_head: bool) -> Self {
        let length = head.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let bodiless = [
            StatusCode::NO_CONTENT,
            StatusCode::RESET_CONTENT,
            StatusCode::NOT_MODIFIED,
        ];
        Owed {
            left: length,
            nothing: to_head || bodiless.contains(&head.status),
        }
    }

    fn gives(&mut self, frame: &Frame<Bytes>) {
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.len() as u64);
        }
    }

    /// Whether the client has everything it was promised.
    fn is_paid(self) -> bool {
        self.nothing || self.left == Some(0)
    }
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self {
            Source::P2(body, _) => Pin::new(body)
                .poll_frame(cx)
                // The only possible error: the guest has dropped the body, or has written
                // another number of bytes than it promised.
                .map_err(|_: Error| Cut::Unfinished),
            Source::P3(kept, _) => kept.poll_frame(cx),
        }
    }

    /// No client waits for the guest any more, and it has delivered everything.
    fn heard(self) {
        match self {
            Source::P2(_, Some(guest)) => guest.heard(),
            Source::P2(_, None) => {}
            Source::P3(body, waiting) => {
                drop(body);
                waiting.over();
            }
        }
    }
}

impl GuestBody {
    /// The body that belongs to `head`; `to_head` says whether the request was `HEAD`.
    pub(crate) fn new(head: &response::Parts, to_head: bool, source: Source) -> Self {
        GuestBody {
            ready: VecDeque::new(),
            source: Some(source),
            failed: None,
            owed: Owed::new(head, to_head),
        }
    }

    /// Takes what can be read without waiting. Most guests have written everything by now,
    /// and then the response needs no chunks. `returned` is what a guest that has already
    /// ended left behind.
    pub(crate) fn settle(mut self, returned: Option<Returned>, cx: &mut Context<'_>) -> Payload {
        match returned {
            Some(returned) => self.take_rest(returned, cx),
            None if matches!(self.source, Some(Source::P2(_, Some(_)))) => {}
            None => self.take_ready(cx),
        }
        if self.source.is_none() && self.failed.is_none() {
            match (self.ready.len(), self.ready.front()) {
                (0, _) => return Payload::Full(Bytes::new()),
                (1, Some(frame)) if frame.is_data() => {
                    let data = self.ready.pop_front().map(Frame::into_data);
                    return Payload::Full(data.and_then(Result::ok).unwrap_or_default());
                }
                _ => {}
            }
        }
        Payload::Stream(Box::new(self))
    }

    /// Reads until nothing more is available for now.
    fn take_ready(&mut self, cx: &mut Context<'_>) {
        while let Some(source) = &mut self.source {
            match source.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.ready.push_back(frame),
                Poll::Ready(end) => self.end(end.and_then(Result::err)),
                Poll::Pending => return,
            }
        }
    }

    /// Reads what an ended guest has written: all of it is available. If the body is not
    /// complete then, the guest did not finish it.
    fn take_rest(&mut self, returned: Returned, cx: &mut Context<'_>) {
        let _ = without_budget(cx, |cx| {
            self.take_ready(cx);
            Poll::Ready(())
        });
        if self.source.is_some() {
            let mut owed = self.owed;
            self.ready.iter().for_each(|frame| owed.gives(frame));
            // If all promised bytes have come, no explicit end is needed.
            self.end((owed.left != Some(0)).then_some(Cut::Unfinished));
        } else if self.failed.is_none() {
            returned.may_serve_again();
        }
    }

    fn end(&mut self, failed: Option<Cut>) {
        self.failed = failed;
        if let Some(source) = self.source.take() {
            source.heard();
        }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if let Some(Source::P2(_, guest)) = &mut this.source
            && let Some(running) = guest
            && let Poll::Ready(result) = running.poll(cx)
        {
            *guest = None;
            match result {
                Ok(returned) => this.take_rest(returned, cx),
                Err(error) => {
                    // What it wrote before that still goes to the client.
                    this.take_ready(cx);
                    this.end(Some(Cut::Failed(one_line(&error))));
                }
            }
        }
        if let Some(frame) = this.ready.pop_front() {
            this.owed.gives(&frame);
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(source) = &mut this.source {
            let frame = ready!(source.poll_frame(cx));
            match frame {
                Some(Ok(frame)) => {
                    this.owed.gives(&frame);
                    return Poll::Ready(Some(Ok(frame)));
                }
                // The guest may do other work, which continues without a reader.
                end => this.end(end.and_then(Result::err)),
            }
        }
        Poll::Ready(this.failed.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.source.is_none() && self.failed.is_none()
    }
}

impl Drop for GuestBody {
    /// A reader that has everything it was promised does not poll for the end.
    fn drop(&mut self) {
        if self.owed.is_paid()
            && let Some(source) = self.source.take()
        {
            source.heard();
        }
    }
}

impl std::fmt::Debug for GuestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestBody")
            .field("ready", &self.ready.len())
            .field("is_over", &self.source.is_none())
            .field("failed", &self.failed)
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

/// Reads a whole payload; for tests and small responses.
impl Payload {
    /// All bytes and the trailers.
    ///
    /// # Errors
    /// If the guest fails before the end.
    pub async fn collect(self) -> Result<(Bytes, Option<HeaderMap>), Cut> {
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
