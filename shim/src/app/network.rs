//! How the requests of an application's guests reach other machines, its other components,
//! and the application itself.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use skiff_backend_http::Client;
use skiff_backend_tls::Authorities;
use skiff_host::{HttpAnswer, HttpBody, HttpClient, HttpError, Mark, Names, Neighbours, Ways};
use skiff_manifest::Application;
use skiff_manifest::hosts::BlockedNetworks;
use skiff_manifest::runtime::ClientTls;
use skiff_trigger_http::{
    BoxError, ChainError, RequestBody, ResponseBody, RouterHandle, WeakRouterHandle,
};
use tokio::sync::{Semaphore, mpsc};

use super::handler::GuestHandler;
use crate::settings::NetworkSettings;

/// How an application's guests reach other machines.
pub(super) struct Network {
    /// What sends their HTTP requests.
    pub(super) ways: Ways,
    /// What finds the addresses of names for their sockets.
    pub(super) names: Arc<dyn Names>,
    /// Networks that nobody connects to.
    pub(super) blocked: BlockedNetworks,
    /// Whom servers are trusted by, besides the authorities that are built in.
    pub(super) authorities: Authorities,
    descriptors_below: RawFd,
    /// Limits on the connections of all components' sockets together.
    pub(super) socket_limits: Vec<Arc<Semaphore>>,
}

impl Network {
    /// What a store asks its server with. The limits and blocked networks of guests do not
    /// hold for it, and it shares no connection with them.
    pub(super) fn for_store(&self) -> Arc<dyn HttpClient> {
        Arc::new(Client::new(skiff_backend_http::Settings {
            authorities: self.authorities.clone(),
            descriptors_below: self.descriptors_below,
            ..skiff_backend_http::Settings::default()
        }))
    }
}

/// The network as the settings say. `neighbours` are there if the application serves.
pub(super) fn network(
    settings: &NetworkSettings,
    descriptors_below: RawFd,
    neighbours: Option<Arc<Inside>>,
) -> Network {
    let NetworkSettings {
        blocked,
        also_blocked,
        keeps_connections,
        patience,
        connections,
        connections_each,
        socket_connections,
        all_connections,
        authorities,
        authorities_in,
        client_tls,
        http2_without_tls,
    } = settings.clone();
    let mut trusted = Authorities::usual();
    trusted.all_in = authorities_in;
    if let Some(file) = authorities {
        // It is missed where it does not exist.
        trusted.first_of.clear();
        trusted.all_of = vec![file];
    }
    let mut blocked = blocked.unwrap_or_default();
    blocked.extend(&also_blocked);
    let limit = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let all = all_connections.map(limit);
    let of_sockets = socket_connections.map(limit);
    let settings = skiff_backend_http::Settings {
        blocked: blocked.clone(),
        connections,
        connections_each,
        keeps: keeps_connections,
        client_tls: client_tls
            .into_iter()
            .map(|written| rule(written, &trusted))
            .collect(),
        authorities: trusted.clone(),
        descriptors_below,
        http2_without_tls,
        ..skiff_backend_http::Settings::default()
    };
    let client = Arc::new(Client::within(settings, all.clone()));
    Network {
        socket_limits: all.into_iter().chain(of_sockets).collect(),
        ways: Ways {
            client: Arc::clone(&client) as Arc<dyn HttpClient>,
            neighbours: neighbours.map(|inside| inside as Arc<dyn Neighbours>),
            patience,
        },
        names: client,
        blocked,
        authorities: trusted,
        descriptors_below,
    }
}

/// Tells of rules for components that do not exist. They may be meant for another application
/// with the same configuration.
pub(super) fn warn_of_unknown(application: &Application, rules: &[ClientTls]) {
    let named = rules.iter().flat_map(|rule| &rule.component_ids);
    let unknown = named.filter(|id| application.component(id).is_none());
    for id in BTreeSet::from_iter(unknown) {
        tracing::warn!(component_id = %id, "An entry of client_tls is for a component that the application does not have");
    }
}

/// A rule of the runtime configuration. Without a file of its own, it trusts whom all trust.
fn rule(written: ClientTls, usual: &Authorities) -> skiff_backend_http::ClientTls {
    let trusts = |asked: Option<bool>| asked.unwrap_or(written.ca_roots_file.is_none());
    let built_in = trusts(written.ca_use_webpki_roots);
    let mut authorities = match trusts(written.ca_use_platform_roots) {
        true => usual.clone(),
        false => Authorities::default(),
    };
    let file = written.ca_roots_file.map(PathBuf::from);
    authorities.all_of.extend(file);
    let client = written.client;
    skiff_backend_http::ClientTls {
        components: written.component_ids,
        hosts: written.hosts,
        tls: skiff_backend_tls::Settings {
            built_in,
            client: client.map(|client| (client.cert_file.into(), client.private_key_file.into())),
            ..skiff_backend_tls::Settings::new(authorities)
        },
    }
}

/// The application as its own components see it, once it serves.
#[derive(Debug)]
pub(super) struct Inside {
    served: OnceLock<Served>,
    mark: Mark,
}

struct Served {
    /// Weak, as the routes lead to the components that hold this.
    routes: WeakRouterHandle<GuestHandler>,
    address: SocketAddr,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Served").field(&self.address).finish()
    }
}

impl Inside {
    /// To be made before the process forks: its workers know each other's requests.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Inside {
            served: OnceLock::new(),
            mark: Mark::new()?,
        })
    }

    /// Takes from a request that arrives what only the application itself may say in it.
    pub(super) fn receives<B>(&self, request: &mut Request<B>) {
        self.mark.take(request);
    }

    /// The application serves these routes at this address.
    pub(super) fn serves(&self, routes: &RouterHandle<GuestHandler>, address: SocketAddr) {
        // An application serves once.
        let _ = self.served.set(Served {
            routes: routes.downgrade(),
            address,
        });
    }
}

impl Neighbours for Inside {
    fn has(&self, component: &str) -> bool {
        let routes = self.served.get().and_then(|served| served.routes.current());
        routes.is_some_and(|routes| routes.runs(component))
    }

    fn call(&self, component: &str, request: Request<HttpBody>) -> HttpAnswer {
        let routes = self.served.get().and_then(|served| served.routes.current());
        let Some(routes) = routes else {
            return Box::pin(std::future::ready(Err(HttpError::DestinationUnavailable)));
        };
        let component = component.to_owned();
        let request = request.map(|body| RequestBody::new(body.map_err(BoxError::from)));
        Box::pin(async move {
            match routes.chain(&component, request).await {
                Ok(response) => Ok(response.map(of_neighbour)),
                Err(ChainError::Failed(failure)) => {
                    let mut response = Response::new(HttpBody::default());
                    *response.status_mut() = failure.status();
                    let error = format!("{:#}", anyhow::Error::from(failure));
                    tracing::error!(component_id = component, error, "request failed");
                    Ok(response)
                }
                Err(error) => Err(HttpError::InternalError(Some(error.to_string()))),
            }
        })
    }

    fn own_address(&self) -> Option<SocketAddr> {
        self.served.get().map(|served| served.address)
    }

    fn mark(&self) -> &Mark {
        &self.mark
    }
}

/// The body of a component's response, for another component. A component that is still
/// writing runs in a task of its own: its caller may be waiting for something else.
fn of_neighbour(body: ResponseBody) -> HttpBody {
    let is_whole = !matches!(body, ResponseBody::Boxed(_));
    let body = body.map_err(|error: BoxError| {
        tracing::error!(error = &*error, "The response of a component broke off");
        HttpError::HttpProtocolError
    });
    if is_whole {
        return body.boxed_unsync();
    }
    let (pieces, pumped) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut body = std::pin::pin!(body);
        loop {
            let piece = tokio::select! {
                piece = body.frame() => piece,
                () = pieces.closed() => return,
            };
            let Some(piece) = piece else { return };
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    });
    Pumped(pumped).boxed_unsync()
}

/// A body that a task reads ahead.
struct Pumped(mpsc::Receiver<Result<Frame<Bytes>, HttpError>>);

impl Body for Pumped {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.0.poll_recv(cx)
    }
}
