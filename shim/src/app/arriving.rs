//! A request's body on its way from the network to a guest. An instance is created once
//! the body, or its beginning, has arrived. A body that arrives too slowly gives way to
//! requests that wait for an instance.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use skiff_host::{BodyFault, Guest};
use skiff_trigger_http::{BodyError, RequestBody};
use tokio::time::{Instant, Sleep};

/// How much of a body of known length must arrive before its guest is created. Forms and
/// JSON documents are smaller, and all connections together buffer as much already.
const BEGINNING: u64 = 64 * 1024;

/// A body of unknown length may be a conversation in which the guest speaks first, so its
/// first bytes are awaited no longer than this. A client that has something to say sends
/// it with the head, or one round trip later.
const FIRST_BYTES: Duration = Duration::from_secs(1);

/// While a request waits for an instance, no guest waits longer than this for the next
/// piece of a body. This leaves the waiting request most of its own time.
const PRESSED: Duration = Duration::from_secs(1);

/// The minimum rate of a body, in bytes per second, while a request waits for an
/// instance: slower than the worst network, but too fast for a client that sends single
/// bytes to hold an instance.
const PRESSED_RATE: u64 = 1024;

/// What is wrong with a body, shared with the code that handed it to a guest.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<BodyError>>>);

impl Fault {
    pub(super) fn take(self) -> Option<BodyError> {
        self.slot().take()
    }

    fn put(&self, error: BodyError) -> BodyFault {
        let fault = match &error {
            BodyError::TooLarge { limit } => BodyFault::TooLarge(*limit),
            BodyError::TimedOut => BodyFault::TimedOut,
            BodyError::Cut(_) => BodyFault::Cut,
        };
        *self.slot() = Some(error);
        fault
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<BodyError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request body that a guest receives. Most requests have none.
pub(super) struct Arriving(Option<Box<Wire>>);

struct Wire {
    /// What arrived before the guest was created.
    begun: VecDeque<Frame<Bytes>>,
    body: RequestBody,
    fault: Fault,
    pace: Pace,
}

impl Arriving {
    /// Waits until enough of the body has arrived to create an instance for it.
    ///
    /// # Errors
    /// The body's error, if it fails before then.
    pub(super) async fn new(
        body: RequestBody,
        headers: &HeaderMap,
        guests: &Guest,
    ) -> Result<Self, BodyError> {
        if body.is_end_stream() {
            return Ok(Arriving(None));
        }
        let mut wire = Box::new(Wire {
            begun: VecDeque::new(),
            body,
            fault: Fault::default(),
            pace: Pace::new(guests.clone()),
        });
        // A client that sends `Expect` waits for the guest's permission, and a body made
        // by this process may wait for the guest's answer before it continues.
        if !wire.body.is_of_a_client() || headers.contains_key(EXPECT) {
            return Ok(Arriving(Some(wire)));
        }
        match wire.body.size_hint().exact() {
            Some(length) => wire.begin(length.min(BEGINNING)).await?,
            None => {
                let first = tokio::time::timeout(FIRST_BYTES, wire.begin(1));
                first.await.unwrap_or(Ok(()))?;
            }
        }
        Ok(Arriving(Some(wire)))
    }

    /// Where to find the body's error when its guest has failed.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.as_ref().map(|wire| wire.fault.clone())
    }
}

impl Wire {
    /// Reads until `least` bytes have arrived or the body has ended.
    async fn begin(&mut self, least: u64) -> Result<(), BodyError> {
        let mut come = 0;
        while come < least && !self.body.is_end_stream() {
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                Some(frame) => {
                    let frame = frame?;
                    come += frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.begun.push_back(frame);
                }
                None => break,
            }
        }
        Ok(())
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Some(frame) = self.begun.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => match self.pace.poll_gives_way(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => Some(Err(BodyError::TimedOut)),
            },
        };
        if let Some(Ok(frame)) = &frame {
            self.pace.came(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| self.fault.put(error))))
    }
}

/// How fast a body arrives while its guest waits for it.
struct Pace {
    guests: Guest,
    /// Created when the body is first waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when the guest has been waiting for the next piece.
    since: Option<Instant>,
    /// How long the guest waited for all earlier pieces.
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(guests: Guest) -> Self {
        Pace {
            guests,
            timer: None,
            since: None,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    fn came(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Ready when the body has to give way.
    fn poll_gives_way(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if self.since.is_none() {
            self.since = Some(now);
            if self.guests.are_short() && self.is_slow() {
                return Poll::Ready(());
            }
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(now + PRESSED);
            }
        }
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(now + PRESSED)));
        while timer.as_mut().poll(cx).is_ready() {
            if self.guests.are_short() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + PRESSED);
        }
        Poll::Pending
    }

    fn is_slow(&self) -> bool {
        let due = self.waited.as_millis() * u128::from(PRESSED_RATE) / 1000;
        self.waited >= PRESSED && u128::from(self.bytes) < due
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(wire) => wire.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        let wire = self.0.as_ref();
        wire.is_none_or(|wire| wire.begun.is_empty() && wire.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(wire) = &self.0 else {
            return SizeHint::with_exact(0);
        };
        let begun = wire.begun.iter().filter_map(Frame::data_ref);
        let begun: u64 = begun.map(|data| data.len() as u64).sum();
        let rest = wire.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + begun);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + begun);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn guests() -> Guest {
        Guest::new(Duration::from_secs(1))
    }

    /// A body made by this process, which is passed on unchanged.
    fn made(frames: &[&'static str]) -> RequestBody {
        let frames: Vec<_> = frames
            .iter()
            .map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
            .collect();
        RequestBody::new(StreamBody::new(
            futures::stream::iter(frames).chain(futures::stream::pending()),
        ))
    }

    #[tokio::test]
    async fn no_body_costs_nothing() {
        let (headers, guests) = (HeaderMap::new(), guests());
        let body = Arriving::new(RequestBody::empty(), &headers, &guests)
            .await
            .unwrap();
        assert!(body.0.is_none() && body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
    }

    #[tokio::test]
    async fn a_body_that_stops_gives_way_only_where_somebody_waits() {
        let guests = guests();
        let mut body = Arriving::new(made(&["a"]), &HeaderMap::new(), &guests)
            .await
            .unwrap();
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "a");
        let longer = tokio::time::timeout(PRESSED * 3 / 2, body.frame());
        longer.await.unwrap_err();
        let _waits = guests.waits();
        let end = body.frame().await.unwrap().unwrap_err();
        assert_eq!(end, BodyFault::TimedOut);
        assert!(matches!(
            body.fault().unwrap().take(),
            Some(BodyError::TimedOut)
        ));
    }

    #[tokio::test]
    async fn single_bytes_do_not_keep_an_instance() {
        let guests = guests();
        let _waits = guests.waits();
        let drops = futures::stream::unfold((), |()| async {
            tokio::time::sleep(PRESSED / 2).await;
            Some((Ok(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        let body = RequestBody::new(StreamBody::new(drops));
        let mut body = Arriving::new(body, &HeaderMap::new(), &guests)
            .await
            .unwrap();
        let mut came = 0;
        let fault = loop {
            match body.frame().await.unwrap() {
                Ok(_) => came += 1,
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault, BodyFault::TimedOut);
        assert!(came <= 2, "{came}");
    }
}
