//! What guests that take and give whole bodies have in common: each request has an instance
//! of its own, which ends when the request does.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Body;
use skiff_engine::{Permit, Permits};

use super::body::Payload;
use super::running::Guests;
use super::{BodyFault, GuestError};
use crate::Grants;
use crate::interfaces::http::is_forbidden;
use crate::meter::Meter;

/// The most bytes of a body that is kept whole, in either direction: what Spin lets a host
/// keep for a guest.
pub(super) const MOST_BYTES: usize = 128 << 20;

/// A request's whole body. It counts as memory of its component until it is dropped.
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    pub(super) meter: Meter,
}

/// Waits for a request's whole body.
///
/// # Errors
/// If it breaks off, or is larger than the component's memory or [`MOST_BYTES`] allow.
pub(super) async fn body<B>(body: B, grants: &Arc<Grants>) -> Result<Whole, GuestError>
where
    B: Body<Data = Bytes, Error = BodyFault>,
{
    let mut meter = Meter::new(grants);
    let mut bytes = Vec::new();
    let mut body = pin!(body);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame.map_err(GuestError::Body)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MOST_BYTES {
            return Err(GuestError::Body(BodyFault::TooLarge(MOST_BYTES as u64)));
        }
        bytes.extend_from_slice(&data);
        let counted = meter.check(bytes.len());
        counted.map_err(|error| GuestError::Request(error.into()))?;
    }
    Ok(Whole { bytes, meter })
}

/// Waits until an instance may be made.
///
/// # Errors
/// If none became free in time.
pub(super) async fn permit(permits: &Permits, guests: &Guests) -> Result<Permit, GuestError> {
    if let Some(permit) = permits.try_acquire() {
        return Ok(permit);
    }
    let _waits = guests.waits();
    Ok(permits.acquire().await?)
}

/// Runs a guest, for as long as its request may take.
pub(super) async fn run<T>(
    limit: Option<Duration>,
    call: impl Future<Output = Result<T, GuestError>>,
) -> Result<T, GuestError> {
    let mut call = pin!(call);
    let running = std::future::poll_fn(|cx| {
        skiff_engine::guest_runs();
        call.as_mut().poll(cx)
    });
    match limit {
        None => running.await,
        Some(limit) => {
            let ended = tokio::time::timeout(limit, running).await;
            ended.unwrap_or(Err(GuestError::Deadline(limit)))
        }
    }
}

/// What a guest gave for a header and is none.
#[derive(Debug, thiserror::Error)]
#[error("it has the header {0:?}, which is not allowed")]
pub(super) struct NoHeader(String);

impl From<NoHeader> for GuestError {
    fn from(error: NoHeader) -> Self {
        GuestError::Answer(error.to_string())
    }
}

/// Adds a header of an answer; the last one of a name counts. What describes the
/// connection is not the guest's, and the length of the body is known better.
///
/// # Errors
/// If it is not a header.
pub(super) fn add_header(
    headers: &mut HeaderMap,
    to_head: bool,
    name: &str,
    value: &str,
) -> Result<(), NoHeader> {
    let wrong = || NoHeader(name.to_owned());
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    if !is_forbidden(&name) && (to_head || name != CONTENT_LENGTH) {
        headers.insert(name, value);
    }
    Ok(())
}

/// An answer with a whole body.
pub(super) fn answer(
    status: StatusCode,
    headers: HeaderMap,
    body: impl Into<Bytes>,
) -> http::Response<Payload> {
    let mut answer = http::Response::new(Payload::Full(body.into()));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}
