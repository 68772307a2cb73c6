//! Counts a request from its head to the end of its response, and logs it if the access log
//! is on.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body::Frame;

use crate::streams::Flow;
use crate::watch::Watch;

/// A request that is being answered. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Exchange {
    watch: Arc<Watch>,
    /// HTTP/2 only.
    flow: Option<Arc<Flow>>,
    record: Option<Box<Record>>,
}

/// The request's fields in the access log.
#[derive(Debug)]
struct Record {
    began: Instant,
    method: http::Method,
    path: String,
    version: Version,
    component: Option<Arc<str>>,
    status: Option<StatusCode>,
    bytes: u64,
}

impl Exchange {
    pub(crate) fn begin<B>(watch: &Arc<Watch>, request: &Request<B>) -> Self {
        watch.request_began();
        let record = watch.limits.access_log.then(|| {
            Box::new(Record {
                began: Instant::now(),
                method: request.method().clone(),
                path: request
                    .uri()
                    .path_and_query()
                    .map_or_else(String::new, ToString::to_string),
                version: request.version(),
                component: None,
                status: None,
                bytes: 0,
            })
        });
        let flow = watch.is_http2().then(|| watch.flows.begin());
        Exchange {
            watch: watch.clone(),
            flow,
            record,
        }
    }

    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    #[inline]
    pub(crate) fn goes_to(&mut self, component: &Arc<str>) {
        if let Some(record) = &mut self.record {
            record.component = Some(component.clone());
        }
    }

    #[inline]
    pub(crate) fn answers(&mut self, status: StatusCode) {
        if let Some(record) = &mut self.record {
            record.status = Some(status);
        }
    }

    /// More of the body is requested.
    #[inline]
    pub(crate) fn asks(&self) {
        if let Some(flow) = &self.flow {
            flow.asked();
        }
    }

    /// A piece of the body is sent.
    #[inline]
    pub(crate) fn sends(&mut self, frame: &Frame<Bytes>) {
        if let Some(flow) = &self.flow {
            flow.gave(&self.watch.limits.clock);
        }
        if let Some(record) = &mut self.record {
            record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.watch.response_ended();
        if let Some(record) = &self.record {
            // A client that left before it was answered has no status, which is logged as
            // zero.
            tracing::info!(
                target: "skiff::access",
                client = %self.watch.peer,
                method = %record.method,
                path = record.path,
                version = ?record.version,
                status = record.status.map_or(0, |status| status.as_u16()),
                bytes = record.bytes,
                micros = u64::try_from(record.began.elapsed().as_micros()).unwrap_or(u64::MAX),
                component_id = record.component.as_deref().unwrap_or_default(),
                "request"
            );
        }
    }
}
