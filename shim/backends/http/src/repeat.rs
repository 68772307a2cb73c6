//! Requests that may be sent a second time, as nothing can have come of the first (RFC 9110,
//! 9.2.2; RFC 9113, 8.7).

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use skiff_host::{HttpBody, HttpError};

use crate::faults;

/// What sends a request again.
pub(crate) struct Repeat {
    head: Parts,
    /// `None` if there is none.
    body: Option<Lent>,
}

impl Repeat {
    /// A request as it is sent now, and what sends it again.
    pub(crate) fn of(request: Request<HttpBody>) -> (Request<HttpBody>, Repeat) {
        let (head, body) = request.into_parts();
        let lent = (!body.is_end_stream()).then(|| Lent::new(body));
        let body = lent
            .clone()
            .map_or_else(HttpBody::default, Lent::boxed_unsync);
        let repeat = Repeat {
            head: head.clone(),
            body: lent,
        };
        (Request::from_parts(head, body), repeat)
    }

    /// The request, if this error shows that the server has not acted on it or may act on it
    /// twice, and if nothing of its body was sent.
    pub(crate) fn after(self, error: &hyper::Error) -> Option<Request<HttpBody>> {
        let is_idempotent = self.head.method.is_idempotent();
        if !faults::is_refused(error) && !(is_idempotent && faults::is_broken(error)) {
            return None;
        }
        let body = match self.body {
            None => HttpBody::default(),
            Some(lent) => lent.take_back()?,
        };
        Some(Request::from_parts(self.head, body))
    }
}

/// A body that can be taken back until a piece of it was sent.
#[derive(Clone)]
struct Lent(Arc<Mutex<Own>>);

struct Own {
    body: HttpBody,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    Begun,
    /// It had nothing in it.
    Empty,
}

impl Lent {
    fn new(body: HttpBody) -> Self {
        let state = State::Whole;
        Lent(Arc::new(Mutex::new(Own { body, state })))
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_back(&self) -> Option<HttpBody> {
        let mut own = self.own();
        match own.state {
            State::Whole => Some(std::mem::take(&mut own.body)),
            State::Empty => Some(HttpBody::default()),
            State::Begun => None,
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let mut own = self.own();
        let frame = std::task::ready!(Pin::new(&mut own.body).poll_frame(cx));
        own.state = match (&frame, own.state) {
            (None, State::Whole) => State::Empty,
            (None, state) => state,
            (Some(_), _) => State::Begun,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.own().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.own().body.size_hint()
    }
}
