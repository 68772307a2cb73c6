//! A request's way from hyper to its handler and back.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use http::header::{ALLOW, CONNECTION, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};

use crate::access::Exchange;
use crate::authority::{LastHost, Refused};
use crate::headers::{self, Coding, Scan, SpinHeaders};
use crate::response::{self, Asked, Outgoing};
use crate::route::{Callee, Destination, Matched, RouterHandle};
use crate::watch::Watch;
use crate::well_known::{self, WELL_KNOWN};
use crate::{Counters, Failure, Handler, RequestBody, ResponseBody};

/// One connection's view of the application.
#[derive(Debug)]
pub(crate) struct Service<H> {
    routes: RouterHandle<H>,
    watch: Arc<Watch>,
    client: HeaderValue,
    last_host: RefCell<LastHost>,
}

/// The methods that guests accept; tunnels are not among them.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE");

/// A request that violates HTTP, for any target.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error(transparent)]
    Host(#[from] Refused),
    #[error("the request's target is not a path")]
    Target,
    #[error("the request's transfer-encoding is chunked twice")]
    ChunkedTwice,
    #[error("the request's transfer-encoding is not known")]
    Coding,
}

/// What happens with a request.
enum Plan<H> {
    Answer(Response<ResponseBody>),
    Call(Arc<Callee<H>>, Option<SpinHeaders>),
}

impl<H: Handler> Service<H> {
    pub(crate) fn new(routes: RouterHandle<H>, watch: Arc<Watch>) -> Self {
        let client = headers::client(watch.peer);
        Service {
            routes,
            watch,
            client,
            last_host: RefCell::default(),
        }
    }

    /// Decides at once and without moving the request, which is large: hyper moves the
    /// future, and each copy is measurable.
    pub(crate) fn call(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Outgoing>, Infallible>> + Send + use<H> {
        let mut exchange = Exchange::begin(&self.watch, &request);
        let (mut parts, incoming) = request.into_parts();
        let asked = Asked {
            head: parts.method == Method::HEAD,
            http2: parts.version == Version::HTTP_2,
        };
        let plan = self
            .plan(&mut parts, &incoming)
            .unwrap_or_else(|bad| self.refuse(&bad, asked));
        if matches!(plan, Plan::Call(..)) && !incoming.is_end_stream() {
            self.watch.body_comes();
        }
        async move {
            match plan {
                Plan::Answer(mut response) => {
                    response::leave_out(&mut response, asked);
                    exchange.answers(response.status());
                    announce_close(&mut response, exchange.watch());
                    Ok(response.map(|body| Outgoing::new(body, exchange)))
                }
                Plan::Call(callee, spin) => {
                    let Callee { component, handler } = &*callee;
                    exchange.goes_to(component);
                    let body = RequestBody::incoming(incoming, exchange.watch(), spin);
                    let result = handler.handle(Request::from_parts(parts, body)).await;
                    // Other ready connections run before this one writes. Responses then
                    // leave together, and a client on this machine is woken once for many
                    // of them.
                    tokio::task::yield_now().await;
                    let (mut response, length) = result
                        .and_then(|response| response::check(response, asked))
                        .unwrap_or_else(|failure| {
                            let counters = &exchange.watch().limits.counters;
                            (failure.answer(component, counters), None)
                        });
                    exchange.answers(response.status());
                    announce_close(&mut response, exchange.watch());
                    Ok(response
                        .map(|body| Outgoing::of_component(body, length, component, exchange)))
                }
            }
        }
    }

    fn plan(&self, parts: &mut Parts, incoming: &Incoming) -> Result<Plan<H>, Bad> {
        let limits = &self.watch.limits;
        // HTTP/1 is already limited to this number of headers, HTTP/2 is not.
        if parts.headers.len() > limits.max_header_count {
            return Ok(answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        let (version, target) = (parts.version, parts.uri.authority());
        let host = self
            .last_host
            .borrow_mut()
            .resolve(version, target, &mut parts.headers)?;
        // Tunnels are not supported, and a guest's positive answer would open one.
        if parts.method == Method::CONNECT {
            return Ok(allow(StatusCode::METHOD_NOT_ALLOWED));
        }
        if !parts.uri.path().starts_with('/') {
            return match (parts.uri.path(), &parts.method) {
                // Requests to the server as a whole.
                ("*", &Method::OPTIONS) => Ok(allow(StatusCode::OK)),
                _ => Err(Bad::Target),
            };
        }
        let path = parts.uri.path();
        if let Some(name) = path.strip_prefix(WELL_KNOWN) {
            limits.probed();
            return Ok(match name {
                "health" => Plan::Answer(well_known::health(limits.health.state())),
                "info" => Plan::Answer(well_known::info(self.routes.load().info())),
                _ => answer(StatusCode::NOT_FOUND),
            });
        }
        if self.watch.is_spare() {
            Counters::add(&limits.counters.refused_connections);
            return Ok(Plan::Answer(response::full(self.watch.is_http2())));
        }
        let routes = self.routes.load();
        match routes.find(path) {
            None => Ok(answer(StatusCode::NOT_FOUND)),
            Some(matched) => self.dispatch(matched, host, parts, incoming),
        }
    }

    fn dispatch(
        &self,
        matched: &Matched<H>,
        (authority, has_host): (Authority, bool),
        parts: &mut Parts,
        incoming: &Incoming,
    ) -> Result<Plan<H>, Bad> {
        let counters = &self.watch.limits.counters;
        let scan = Scan::new(&parts.headers);
        match scan.coding() {
            Coding::Plain | Coding::Chunked => {}
            Coding::Twice => return Err(Bad::ChunkedTwice),
            Coding::Unknown => return Err(Bad::Coding),
        }
        let callee = match &matched.destination {
            Destination::Static(fixed) => return Ok(Plan::Answer(fixed.response())),
            Destination::Handler(callee) => callee,
        };
        let fail = |failure: Failure| Plan::Answer(failure.answer(&callee.component, counters));
        if incoming.size_hint().lower() > self.watch.limits.max_body_bytes {
            Counters::add(&counters.refused_bodies);
            return Ok(answer(StatusCode::PAYLOAD_TOO_LARGE));
        }
        scan.clean(&mut parts.headers, parts.version == Version::HTTP_2);
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(authority);
        match Uri::from_parts(uri) {
            Ok(uri) => parts.uri = uri,
            Err(error) => return Ok(fail(Failure::Other(error.into()))),
        }
        // Upgrades are not offered, and hyper's state for them would keep the connection
        // open.
        parts.extensions.clear();
        let spin = SpinHeaders {
            route: matched.headers.clone(),
            has_host,
        };
        if H::ADDS_SPIN_HEADERS {
            return Ok(Plan::Call(callee.clone(), Some(spin)));
        }
        Ok(
            match spin.add(&parts.uri, self.client.clone(), &mut parts.headers) {
                Ok(()) => Plan::Call(callee.clone(), None),
                Err(failure) => fail(failure),
            },
        )
    }

    /// Counts and logs a violation of HTTP, and creates the response. It is the last on an
    /// HTTP/1 connection.
    #[cold]
    fn refuse(&self, bad: &Bad, asked: Asked) -> Plan<H> {
        let counters = &self.watch.limits.counters;
        Counters::add(match bad {
            Bad::Host(_) => &counters.refused_hosts,
            Bad::Target | Bad::ChunkedTwice | Bad::Coding => &counters.bad_requests,
        });
        let status = match bad {
            Bad::Coding => StatusCode::NOT_IMPLEMENTED,
            Bad::Host(_) | Bad::Target | Bad::ChunkedTwice => StatusCode::BAD_REQUEST,
        };
        let status_code = status.as_u16();
        tracing::warn!(error = %bad, peer = %self.watch.peer, status = status_code, "request refused");
        let mut response = Response::new(ResponseBody::Empty);
        *response.status_mut() = status;
        if !asked.http2 {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Plan::Answer(response)
    }
}

/// Notifies an HTTP/1 client that the server is stopping, so that its next request uses a
/// new connection, and possibly another server.
fn announce_close(response: &mut Response<ResponseBody>, watch: &Watch) {
    if watch.limits.is_leaving() && !watch.is_http2() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn answer<H>(status: StatusCode) -> Plan<H> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    Plan::Answer(response)
}

/// A response that lists the allowed methods.
fn allow<H>(status: StatusCode) -> Plan<H> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    response.headers_mut().insert(ALLOW, METHODS);
    Plan::Answer(response)
}
