//! A request's way from hyper to its handler and back.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;

use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body, Incoming};

use crate::access::Exchange;
use crate::authority::{LastHost, Refused};
use crate::headers::{self, Scan, SpinHeaders};
use crate::response::{self, Outgoing};
use crate::route::{Callee, Destination, Matched, RouterHandle, WELL_KNOWN};
use crate::watch::Watch;
use crate::{Counters, Failure, Handler, RequestBody, ResponseBody};

/// One connection's view of the application.
#[derive(Debug)]
pub(crate) struct Service<H> {
    routes: RouterHandle<H>,
    watch: Arc<Watch>,
    client: HeaderValue,
    last_host: RefCell<LastHost>,
}

/// What becomes of a request.
enum Plan<H> {
    Refuse(Refused),
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

    /// Plans at once and without moving the request, which is large: hyper moves the
    /// future, and each copy is felt.
    pub(crate) fn call(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Outgoing>, Refused>> + Send + use<H> {
        let mut exchange = Exchange::begin(&self.watch, &request);
        let (mut parts, incoming) = request.into_parts();
        let plan = self.plan(&mut parts, &incoming);
        async move {
            match plan {
                Plan::Refuse(refused) => {
                    Counters::add(&exchange.watch().limits.counters.refused_hosts);
                    tracing::debug!(error = %refused, peer = %exchange.watch().peer, "connection closed");
                    Err(refused)
                }
                Plan::Answer(mut response) => {
                    exchange.answers(response.status());
                    announce_close(&mut response, exchange.watch());
                    Ok(response.map(|body| Outgoing::new(body, exchange)))
                }
                Plan::Call(callee, spin) => {
                    let Callee { component, handler } = &*callee;
                    exchange.goes_to(component);
                    let bodiless = parts.method == Method::HEAD;
                    let body = RequestBody::incoming(incoming, exchange.watch(), spin);
                    let result = handler.handle(Request::from_parts(parts, body)).await;
                    // The other connections that are ready have their turn before this
                    // one writes. Answers then leave together, and a client on this
                    // machine is woken once for many of them.
                    tokio::task::yield_now().await;
                    let mut response = result
                        .and_then(|response| response::check(response, bodiless))
                        .unwrap_or_else(|failure| {
                            failure.answer(component, &exchange.watch().limits.counters)
                        });
                    exchange.answers(response.status());
                    announce_close(&mut response, exchange.watch());
                    Ok(response.map(|body| Outgoing::of_component(body, component, exchange)))
                }
            }
        }
    }

    fn plan(&self, parts: &mut Parts, incoming: &Incoming) -> Plan<H> {
        let limits = &self.watch.limits;
        // HTTP/1 was stopped at this number of headers already, HTTP/2 was not.
        if parts.headers.len() > limits.max_header_count {
            return answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        // There are no tunnels here, and a guest that said yes would open one.
        if parts.method == Method::CONNECT {
            return answer(StatusCode::METHOD_NOT_ALLOWED);
        }
        let routes = self.routes.load();
        let path = parts.uri.path();
        if let Some(name) = path.strip_prefix(WELL_KNOWN) {
            limits.probed();
            return Plan::Answer(routes.well_known(name, limits.is_leaving()));
        }
        if self.watch.is_spare() {
            Counters::add(&limits.counters.refused_connections);
            return Plan::Answer(response::full(self.watch.is_http2()));
        }
        match routes.find(path) {
            None => answer(StatusCode::NOT_FOUND),
            Some(matched) => self.dispatch(matched, parts, incoming),
        }
    }

    fn dispatch(&self, matched: &Matched<H>, parts: &mut Parts, incoming: &Incoming) -> Plan<H> {
        let counters = &self.watch.limits.counters;
        let scan = Scan::new(&parts.headers);
        if scan.as_ref().is_ok_and(|scan| scan.has_many_hosts()) {
            return Plan::Refuse(Refused::Differing);
        }
        let host = self
            .last_host
            .borrow_mut()
            .resolve(parts.uri.authority(), &mut parts.headers);
        let (authority, has_host) = match host {
            Ok(found) => found,
            Err(refused) => return Plan::Refuse(refused),
        };
        let callee = match &matched.destination {
            Destination::Static(fixed) => return Plan::Answer(fixed.response()),
            Destination::Handler(callee) => callee,
        };
        let fail = |failure: Failure| Plan::Answer(failure.answer(&callee.component, counters));
        let scan = match scan {
            Ok(scan) => scan,
            Err(failure) => return fail(failure),
        };
        if incoming.size_hint().lower() > self.watch.limits.max_body_bytes {
            Counters::add(&counters.refused_bodies);
            return answer(StatusCode::PAYLOAD_TOO_LARGE);
        }
        scan.clean(&mut parts.headers);
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(authority);
        match Uri::from_parts(uri) {
            Ok(uri) => parts.uri = uri,
            Err(error) => return fail(Failure::Other(error.into())),
        }
        // Upgrades are not offered, and what hyper keeps for them would keep the
        // connection.
        parts.extensions.clear();
        let spin = SpinHeaders {
            route: matched.headers.clone(),
            has_host,
        };
        if H::ADDS_SPIN_HEADERS {
            return Plan::Call(callee.clone(), Some(spin));
        }
        match spin.add(&parts.uri, self.client.clone(), &mut parts.headers) {
            Ok(()) => Plan::Call(callee.clone(), None),
            Err(failure) => fail(failure),
        }
    }
}

/// Tells a client of HTTP/1 that the server is going, so that its next request takes a
/// new connection, and with it perhaps another server.
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
