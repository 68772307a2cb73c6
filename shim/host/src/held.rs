//! Memory that the host holds on behalf of a guest, outside the guest's own.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use http::HeaderMap;
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::types::{
    HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};
use wasmtime_wasi_http::p3::{Request, Response};
use wasmtime_wasi_io::streams::DynInputStream;

use crate::interfaces::http::awaited::Awaited;
use crate::interfaces::key_value::Cas;

/// How much of an outgoing body is buffered before the guest has to wait. Wasmtime's
/// default is 1 MiB; connections take less at once.
pub(crate) const BODY_CHUNK: usize = 256 << 10;

/// A body may buffer a chunk in each of two places.
const BODY: usize = 2 * BODY_CHUNK;

/// How much a stream may have read ahead.
const STREAM: usize = 64 << 10;

/// The cost of any resource that a guest has a handle for.
const HANDLE: usize = 256;

/// How many handles are checked for each tick that passes.
pub(crate) const HANDLES_A_TICK: usize = 1024;

/// The most handles of one guest.
pub(crate) const MOST_HANDLES: usize = 1 << 16;

/// The most handles that guests may leave behind in an instance: wasmtime's limit is
/// 100,000, and the next guest may need as many as any.
pub(crate) const MOST_LEFT: usize = 30_000;

/// How many bytes the host holds for one entry of a guest's table. For bodies, whose size
/// is not accessible, it is their maximum.
pub(crate) fn size(entry: &(dyn Any + Send)) -> usize {
    let body = |there: bool| if there { BODY } else { 0 };
    let size = if let Some(fields) = entry.downcast_ref::<FieldMap>() {
        headers(fields)
    } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
        headers(&response.headers) + body(response.body.is_some())
    } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
        headers(&request.headers) + body(request.body.is_some())
    } else if let Some(response) = entry.downcast_ref::<Response>() {
        headers(&response.headers)
    } else if let Some(request) = entry.downcast_ref::<Request>() {
        headers(&request.headers)
    } else if let Some(cas) = entry.downcast_ref::<Cas>() {
        cas.size()
    } else if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
        headers(&response.headers) + STREAM
    } else if entry.is::<DynInputStream>() || entry.is::<Awaited>() {
        STREAM
    } else {
        0
    };
    HANDLE + size
}

/// Calls that hold less are not counted.
pub(crate) const FREE_CALL: usize = 64 << 10;

/// The bytes that the host holds for a guest's calls under way. Nothing is allocated for
/// guests without such calls.
#[derive(Default)]
pub(crate) struct Calls(Option<Arc<AtomicUsize>>);

/// Bytes that the host holds for a call.
pub(crate) struct Lent {
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl Calls {
    /// How many they are.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |calls| calls.load(Relaxed))
    }

    pub(crate) fn lend(&mut self, bytes: usize) -> Lent {
        let of = Arc::clone(self.0.get_or_insert_default());
        of.fetch_add(bytes, Relaxed);
        Lent { bytes, of }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Relaxed);
    }
}

fn headers(headers: &HeaderMap) -> usize {
    let names = headers.keys().map(|name| name.as_str().len());
    let values = headers.values().map(|value| value.len());
    // The map's capacity exceeds its length.
    let rooms =
        headers.capacity() * (size_of::<http::HeaderValue>() + size_of::<http::HeaderName>());
    names.chain(values).sum::<usize>() + rooms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_as_large_as_what_is_in_them() {
        let mut fields = FieldMap::new_mutable(1 << 20);
        let value = "y".repeat(100_000).parse().unwrap();
        fields.append_raw(http::header::ACCEPT, value).unwrap();
        let size = size(&fields);
        assert!((100_000..110_000).contains(&size), "{size}");
    }

    #[test]
    fn whatever_it_is_a_handle_costs_something() {
        assert_eq!(size(&"anything"), HANDLE);
    }
}
