//! Bodies of responses: as handlers give them, and as hyper takes them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::access::Exchange;
use crate::failure::chain;
use crate::{BoxError, Counters, Failure};

/// The body of a response. Bodies of known bytes cost no allocation.
#[derive(Default)]
pub enum ResponseBody {
    /// No body.
    #[default]
    Empty,
    /// All bytes at once.
    Full(Bytes),
    /// Bytes as they come, with trailers perhaps. An error cuts the response off. It
    /// is dropped as soon as nobody wants more of it, which may be before its end or
    /// before it was polled (for `HEAD`).
    Boxed(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl ResponseBody {
    /// Boxes a body.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        ResponseBody::Boxed(Box::pin(body))
    }
}

impl<B: Into<Bytes>> From<B> for ResponseBody {
    fn from(bytes: B) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            ResponseBody::Empty
        } else {
            ResponseBody::Full(bytes)
        }
    }
}

/// Answers who came when there were more connections than are served.
pub(crate) fn full(is_http2: bool) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    if !is_http2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            ResponseBody::Empty => Poll::Ready(None),
            ResponseBody::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = ResponseBody::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            ResponseBody::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Empty => true,
            ResponseBody::Full(_) => false,
            ResponseBody::Boxed(body) => body.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Empty => SizeHint::with_exact(0),
            ResponseBody::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            ResponseBody::Boxed(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ResponseBody::Empty => f.write_str("Empty"),
            ResponseBody::Full(bytes) => f.debug_tuple("Full").field(&bytes.len()).finish(),
            ResponseBody::Boxed(body) => f.debug_tuple("Boxed").field(&body.size_hint()).finish(),
        }
    }
}

/// A response's body on its way out. The request has ended when it is dropped.
pub(crate) struct Outgoing {
    body: ResponseBody,
    /// Who to blame when the body fails. Bodies of known bytes do not.
    component: Option<Arc<str>>,
    /// Why the body failed, until hyper is told.
    failed: Option<BoxError>,
    exchange: Exchange,
}

impl Outgoing {
    pub(crate) fn new(body: ResponseBody, exchange: Exchange) -> Self {
        Outgoing {
            body,
            component: None,
            failed: None,
            exchange,
        }
    }

    pub(crate) fn of_component(
        body: ResponseBody,
        component: &Arc<str>,
        exchange: Exchange,
    ) -> Self {
        let component = matches!(body, ResponseBody::Boxed(_)).then(|| component.clone());
        Outgoing {
            body,
            component,
            failed: None,
            exchange,
        }
    }

    /// Counts and logs what has cut the response off, and keeps it for the next poll.
    ///
    /// When a body fails hyper forgets what it has not written yet, the head too, and a
    /// proxy that saw nothing sends the request again. When a body has nothing for it,
    /// hyper writes first.
    #[cold]
    fn fail(&mut self, error: BoxError, cx: &mut Context<'_>) {
        Counters::add(&self.exchange.watch().limits.counters.cut_responses);
        let component_id = self.component.as_deref().unwrap_or_default();
        tracing::error!(
            component_id,
            error = chain(&*error),
            "the response was cut off"
        );
        self.failed = Some(error);
        cx.waker().wake_by_ref();
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.failed.is_some() {
            if self.exchange.watch().socket_is_full() {
                // The socket wakes the connection, which asks again.
                return Poll::Pending;
            }
            return Poll::Ready(self.failed.take().map(Err));
        }
        self.exchange.asks();
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.exchange.sends(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.fail(error, cx);
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.failed.is_none() && self.body.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Checks what would otherwise make hyper drop the connection without an answer, and
/// leaves the framing to hyper. `bodiless` says that the client asked for no body.
pub(crate) fn check(
    mut response: Response<ResponseBody>,
    bodiless: bool,
) -> Result<Response<ResponseBody>, Failure> {
    if response.status().is_informational() {
        return Err(Failure::Status(response.status()));
    }
    if response.headers().is_empty() {
        return Ok(response);
    }
    response.headers_mut().remove(TRANSFER_ENCODING);
    let bodiless = bodiless || response.status() == StatusCode::NOT_MODIFIED;
    match (
        content_length(response.headers())?,
        response.body().size_hint().exact(),
    ) {
        (Some(_), Some(0)) if bodiless => Ok(response),
        (Some(declared), Some(actual)) if declared != actual => Err(Failure::ContentLength),
        _ => Ok(response),
    }
}

/// The one length that all `content-length` headers agree on.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let mut agreed = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let text = value.as_bytes();
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let length = value
            .to_str()
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse::<u64>().ok());
        match (length, agreed) {
            (Some(length), None) => agreed = Some(length),
            (Some(length), Some(other)) if length == other => {}
            _ => return Err(Failure::ContentLength),
        }
    }
    Ok(agreed)
}
