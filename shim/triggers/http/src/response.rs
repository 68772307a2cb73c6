//! Response bodies: as handlers return them, and as hyper takes them.

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

/// The body of a response. Bodies of known bytes need no allocation.
#[derive(Default)]
pub enum ResponseBody {
    /// An empty body.
    #[default]
    Empty,
    /// The complete bytes.
    Full(Bytes),
    /// Bytes as they come, possibly with trailers. An error cuts the response off. The
    /// stream is dropped as soon as no more of it is wanted, which may be before its end or
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

/// The response for clients beyond the limit of connections.
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

/// A response's body while it is sent. The request ends when it is dropped.
pub(crate) struct Outgoing {
    body: ResponseBody,
    /// Where to report a failure of the body. Bodies of known bytes do not fail.
    component: Option<Arc<str>>,
    /// The length in the head, for a body that may not match it.
    left: Option<u64>,
    /// Why the body failed, until hyper gets the error.
    failed: Option<BoxError>,
    exchange: Exchange,
}

/// A body that does not match its response's `content-length`.
#[derive(Debug, thiserror::Error)]
enum WrongLength {
    #[error("the body ended {0} bytes short of its content-length")]
    Short(u64),
    #[error("the body is longer than its content-length")]
    Long,
}

impl Outgoing {
    pub(crate) fn new(body: ResponseBody, exchange: Exchange) -> Self {
        Outgoing {
            body,
            component: None,
            left: None,
            failed: None,
            exchange,
        }
    }

    pub(crate) fn of_component(
        body: ResponseBody,
        left: Option<u64>,
        component: &Arc<str>,
        exchange: Exchange,
    ) -> Self {
        let component = matches!(body, ResponseBody::Boxed(_)).then(|| component.clone());
        Outgoing {
            body,
            left: left.filter(|_| component.is_some()),
            component,
            failed: None,
            exchange,
        }
    }

    /// Counts and logs why the response is cut off, and keeps the error for the next poll.
    ///
    /// When a body fails, hyper discards what it has not written yet, including the head,
    /// and a proxy that saw nothing repeats the request. When a body is pending, hyper
    /// writes first.
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

    /// Counts the bytes against the promised length.
    fn owes(&mut self, frame: Option<&Frame<Bytes>>) -> Result<(), WrongLength> {
        let Some(left) = &mut self.left else {
            return Ok(());
        };
        match frame.map(|frame| frame.data_ref().map(|data| data.len() as u64)) {
            Some(Some(length)) => *left = left.checked_sub(length).ok_or(WrongLength::Long)?,
            Some(None) | None if *left > 0 => return Err(WrongLength::Short(*left)),
            Some(None) | None => {}
        }
        Ok(())
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
                // The socket wakes the connection, which polls again.
                return Poll::Pending;
            }
            return Poll::Ready(self.failed.take().map(Err));
        }
        self.exchange.asks();
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => Some(frame),
            Some(Err(error)) => {
                self.fail(error, cx);
                return Poll::Pending;
            }
            None => None,
        };
        if let Err(wrong) = self.owes(frame.as_ref()) {
            self.fail(wrong.into(), cx);
            return Poll::Pending;
        }
        Poll::Ready(frame.map(|frame| {
            self.exchange.sends(&frame);
            Ok(frame)
        }))
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.failed.is_none() && self.left.is_none_or(|left| left == 0) && self.body.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What has to be known of a request to answer it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The method is `HEAD`.
    pub(crate) head: bool,
    /// In HTTP/2, hyper does not leave out bodies itself.
    pub(crate) http2: bool,
}

/// Checks for what would make hyper drop the connection without a response, removes what
/// the status does not allow, and leaves the framing to hyper. Returns the length in the
/// head.
pub(crate) fn check(
    mut response: Response<ResponseBody>,
    asked: Asked,
) -> Result<(Response<ResponseBody>, Option<u64>), Failure> {
    let status = response.status();
    if status.is_informational() {
        return Err(Failure::Status(status));
    }
    let bodiless = asked.head || is_bodiless(status);
    if response.headers().is_empty() && !bodiless {
        return Ok((response, None));
    }
    response.headers_mut().remove(TRANSFER_ENCODING);
    if status == StatusCode::NO_CONTENT || status == StatusCode::RESET_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    let declared = content_length(response.headers())?;
    let actual = response.body().size_hint().exact();
    let nothing_to_compare = bodiless && actual == Some(0);
    if !nothing_to_compare
        && let (Some(declared), Some(actual)) = (declared, actual)
        && declared != actual
    {
        return Err(Failure::ContentLength);
    }
    if bodiless {
        leave_out(&mut response, asked);
        return Ok((response, None));
    }
    Ok((response, declared))
}

/// Removes the body of a response without one: RFC 9110, 9.3.2 and 15.3.5 to 15.4.5.
pub(crate) fn leave_out(response: &mut Response<ResponseBody>, asked: Asked) {
    if is_bodiless(response.status()) {
        *response.body_mut() = ResponseBody::Empty;
    } else if asked.head && asked.http2 {
        let length = response.body().size_hint().exact();
        if let Some(length) = length.filter(|length| *length > 0) {
            let length = length.into();
            let headers = response.headers_mut();
            headers.entry(CONTENT_LENGTH).or_insert(length);
        }
        *response.body_mut() = ResponseBody::Empty;
    }
}

/// Statuses whose response has no body, for any method.
pub(crate) fn is_bodiless(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    )
}

/// The length that all `content-length` headers agree on.
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
