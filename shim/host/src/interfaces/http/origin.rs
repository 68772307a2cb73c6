//! What a request from outside passes on to the requests that its guest sends.

use http::{HeaderMap, HeaderName, HeaderValue};
use wasmtime::component::GuestTaskId;

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// How many requests of one instance are remembered. Guests may send requests after their
/// response, so the end of a request is not known.
const MOST: usize = 64;

/// How many requests of one application's components to another led to this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Depth(pub(crate) u32);

/// The request that a guest answers while it sends others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    parent: Option<HeaderValue>,
    state: Option<HeaderValue>,
    pub(super) depth: Depth,
}

impl Origin {
    pub(crate) fn of<B>(request: &http::Request<B>) -> Self {
        let headers = request.headers();
        Origin {
            parent: headers.get(TRACE_PARENT).cloned(),
            state: headers.get(TRACE_STATE).cloned(),
            depth: request.extensions().get().copied().unwrap_or_default(),
        }
    }

    /// Passes on the W3C trace context, unless the guest has set its own.
    pub(super) fn trace(&self, headers: &mut HeaderMap) {
        let Some(parent) = &self.parent else { return };
        if headers.contains_key(TRACE_PARENT) {
            return;
        }
        // Both fail only if there are too many headers.
        let _ = headers.try_insert(TRACE_PARENT, parent.clone());
        if let Some(state) = &self.state {
            let _ = headers.try_insert(TRACE_STATE, state.clone());
        }
    }
}

/// The requests that an instance of WASI 0.3 answers at the same time, by their task.
#[derive(Default)]
pub(crate) struct Origins(Vec<(GuestTaskId, Origin)>);

impl Origins {
    pub(crate) fn begin(&mut self, task: GuestTaskId, origin: Origin) {
        let Origins(all) = self;
        // An id is used again when its task has ended.
        all.retain(|(other, _)| *other != task);
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push((task, origin));
    }

    pub(crate) fn find(&self, task: GuestTaskId) -> Option<&Origin> {
        let mut all = self.0.iter();
        all.find_map(|(other, origin)| (*other == task).then_some(origin))
    }

    /// The instance is idle.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        let request = http::Request::builder()
            .header("traceparent", "00-1-2-01")
            .header("tracestate", "a=b")
            .body(());
        Origin::of(&request.unwrap())
    }

    #[test]
    fn a_trace_is_passed_on() {
        let mut headers = HeaderMap::new();
        origin().trace(&mut headers);
        assert_eq!(headers["traceparent"], "00-1-2-01");
        assert_eq!(headers["tracestate"], "a=b");
    }

    #[test]
    fn a_trace_of_the_guests_own_stays() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static("mine"));
        origin().trace(&mut headers);
        assert_eq!(headers["traceparent"], "mine");
        assert_eq!(headers.len(), 1);
        Origin::default().trace(&mut HeaderMap::new());
    }
}
