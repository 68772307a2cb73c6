//! What sends the requests of guests: other crates fulfil these traits.

use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::mark::Mark;
use skiff_manifest::hosts::Host;
pub use wasmtime_wasi_http::Error as HttpError;
pub use wasmtime_wasi_http::WasiBody as HttpBody;

/// A response that is on its way.
pub type HttpAnswer =
    Pin<Box<dyn Future<Output = Result<http::Response<HttpBody>, HttpError>> + Send>>;

/// Sends requests to other machines.
pub trait HttpClient: Debug + Send + Sync {
    /// Sends a request, whether or not the future is polled. Both bodies are streamed. A
    /// request whose future, or whose response's body, is dropped before its end is
    /// abandoned.
    ///
    /// # Errors
    /// The future ends with the error code of `wasi:http` that says what went wrong.
    fn send(&self, call: HttpCall) -> HttpAnswer;
}

/// A request that is allowed.
#[derive(Debug)]
pub struct HttpCall {
    /// The component that sends it.
    pub component: Arc<str>,
    /// Whether it is sent over TLS.
    pub tls: bool,
    /// The host to connect to.
    pub host: Host,
    /// The port to connect to.
    pub port: u16,
    /// Whether blocked networks do not count, as for the application's own address.
    pub unblocked: bool,
    /// The request. Of its URI, only path and query are meant: the rest is said above. It
    /// has no `host` header.
    pub request: http::Request<HttpBody>,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// How long the parts of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To find the address, connect, and agree on TLS.
    pub connect: Duration,
    /// From the request to the head of its response.
    pub first_byte: Duration,
    /// Between two pieces of the response's body.
    pub between_bytes: Duration,
}

/// The components of an application, for requests that stay inside it.
pub trait Neighbours: Debug + Send + Sync {
    /// Whether an HTTP trigger runs this component.
    fn has(&self, component: &str) -> bool;

    /// Calls a component in this process. The request's URI is absolute.
    ///
    /// # Errors
    /// As for [`HttpClient::send`].
    fn call(&self, component: &str, request: http::Request<HttpBody>) -> HttpAnswer;

    /// Where the application itself listens; `None` if it does not.
    fn own_address(&self) -> Option<SocketAddr>;

    /// Marks the requests that it sends there.
    fn mark(&self) -> &Mark;
}
