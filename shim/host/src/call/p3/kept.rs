//! Bodies whose instance may end before they are read.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::call::{Cut, without_budget};

/// A response's body. When its instance ends, streams end with it, and a closed one then
/// looks like an unfinished one: so each is checked before.
pub(crate) struct Kept(Mutex<State>);

enum State {
    Open {
        body: WasiBody,
        reader: Option<Waker>,
    },
    /// Its instance has ended: this is everything that is left.
    Sealed {
        rest: VecDeque<Frame<Bytes>>,
        cut: Option<Cut>,
    },
}

impl Kept {
    pub(crate) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self.state() {
            State::Open { body, reader } => match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {
                    if !reader.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                        *reader = Some(cx.waker().clone());
                    }
                    Poll::Pending
                }
                Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(refused))),
            },
            State::Sealed { rest, cut } => Poll::Ready(match rest.pop_front() {
                Some(frame) => Some(Ok(frame)),
                None => cut.take().map(Err),
            }),
        }
    }

    /// Takes what the guest has written. `cut` is why nothing more follows, if the guest
    /// has not finished the body. Returns whether it had not.
    fn seal(&self, cut: &Cut) -> bool {
        let mut state = self.state();
        let State::Open { body, reader } = &mut *state else {
            return false;
        };
        let mut cx = Context::from_waker(Waker::noop());
        let mut rest = VecDeque::new();
        let cut = loop {
            match without_budget(&mut cx, |cx| Pin::new(&mut *body).poll_frame(cx)) {
                Poll::Ready(Some(Ok(frame))) => rest.push_back(frame),
                Poll::Ready(Some(Err(error))) => break Some(refused(error)),
                Poll::Ready(None) => break None,
                Poll::Pending => break Some(cut.clone()),
            }
        };
        let was_cut = cut.is_some();
        let reader = reader.take();
        *state = State::Sealed { rest, cut };
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        was_cut
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(error: Error) -> Cut {
    Cut::Refused(format!("{error:?}"))
}

/// The bodies of one instance.
#[derive(Default)]
pub(super) struct Bodies(Mutex<Vec<Weak<Kept>>>);

impl Bodies {
    pub(super) fn keep(&self, body: WasiBody) -> Arc<Kept> {
        let kept = Arc::new(Kept(Mutex::new(State::Open { body, reader: None })));
        let mut all = self.all();
        if all.len() == all.capacity() {
            // The list does not grow beyond the number of simultaneous bodies.
            all.retain(|body| body.strong_count() > 0);
        }
        all.push(Arc::downgrade(&kept));
        kept
    }

    /// Whether a body is still read. It may come from outside, without the guest, which has
    /// passed it on; but it goes through its instance.
    pub(super) fn are_open(&self) -> bool {
        self.all().iter().any(|body| body.strong_count() > 0)
    }

    /// The instance ends. Returns whether a client notices.
    pub(super) fn seal(&self, cut: &Cut) -> bool {
        let all = std::mem::take(&mut *self.all());
        let open = all.iter().filter_map(Weak::upgrade);
        open.fold(false, |seen, body| body.seal(cut) | seen)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, Error>>;

    /// A body that returns frames and then ends, or waits forever.
    fn body(frames: Frames, ends: bool) -> WasiBody {
        use futures::StreamExt as _;
        let frames = futures::stream::iter(frames);
        if ends {
            StreamBody::new(frames).boxed_unsync()
        } else {
            StreamBody::new(frames.chain(futures::stream::pending())).boxed_unsync()
        }
    }

    fn read(kept: &Kept) -> (String, Option<Cut>) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut text = String::new();
        loop {
            match kept.poll_frame(&mut cx) {
                Poll::Pending => return (text + "…", None),
                Poll::Ready(None) => return (text, None),
                Poll::Ready(Some(Err(cut))) => return (text, Some(cut)),
                Poll::Ready(Some(Ok(frame))) => {
                    text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
                }
            }
        }
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, Error> {
        Ok(Frame::data(text.into()))
    }

    #[test]
    fn a_body_that_was_finished_outlives_its_instance_and_another_is_cut() {
        let bodies = Bodies::default();
        let finished = bodies.keep(body(vec![data("all "), data("of it")], true));
        let open = bodies.keep(body(vec![data("half")], false));
        let failed = bodies.keep(body(vec![Err(Error::HttpProtocolError)], true));
        let unread = bodies.keep(body(vec![], false));
        assert!(bodies.are_open());
        drop(unread);
        let cut = Cut::Failed("it trapped".to_owned());
        assert!(bodies.seal(&cut));
        assert!(!bodies.seal(&cut));
        assert_eq!(read(&finished), ("all of it".to_owned(), None));
        assert_eq!(read(&open), ("half".to_owned(), Some(cut)));
        let (_, refused) = read(&failed);
        assert!(matches!(refused, Some(Cut::Refused(_))), "{refused:?}");
        assert!(!bodies.are_open());
    }

    #[test]
    fn a_reader_that_waits_is_told_of_the_end() {
        let bodies = Bodies::default();
        let kept = bodies.keep(body(vec![data("half")], false));
        let told = Arc::new(Told::default());
        let waker = Waker::from(told.clone());
        let mut cx = Context::from_waker(&waker);
        assert!(kept.poll_frame(&mut cx).is_ready());
        assert!(kept.poll_frame(&mut cx).is_pending());
        bodies.seal(&Cut::Unfinished);
        assert!(told.0.load(std::sync::atomic::Ordering::Relaxed));
        assert_eq!(read(&kept), (String::new(), Some(Cut::Unfinished)));
    }

    #[derive(Default)]
    struct Told(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
