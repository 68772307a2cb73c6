//! Requests from one component of an application to another, which never leave the process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::Request;
use http::header::HOST;

use crate::headers::{Scan, SpinHeaders};
use crate::route::RouteHeaders;
use crate::{Failure, RequestBody};

/// The peer of requests that did not come from the network.
pub(crate) const NOBODY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Why a chained request has no response.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No HTTP trigger runs this component.
    #[error("no HTTP trigger runs the component `{component}`")]
    Unknown {
        /// The requested id.
        component: String,
    },
    /// The request's URI has no scheme, authority or path.
    #[error("`{0}` is not an absolute URI")]
    Relative(http::Uri),
    /// The component failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Makes a request look as if it had matched `/...`.
pub(crate) fn prepare(
    mut request: Request<RequestBody>,
    route: &Arc<RouteHeaders>,
    handler_adds: bool,
) -> Result<Request<RequestBody>, ChainError> {
    let uri = request.uri();
    if uri.scheme().is_none() || uri.authority().is_none() || uri.path_and_query().is_none() {
        return Err(ChainError::Relative(uri.clone()));
    }
    let headers = request.headers_mut();
    Scan::new(headers).clean(headers, false);
    headers.remove(HOST);
    let spin = SpinHeaders {
        route: route.clone(),
        has_host: false,
    };
    request.body_mut().comes_from(NOBODY, Some(spin));
    if !handler_adds {
        RequestBody::add_spin_headers(&mut request)?;
    }
    Ok(request)
}
