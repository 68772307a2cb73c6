//! Requests from one component of an application to another, which never leave the
//! process.

use std::net::{Ipv4Addr, SocketAddr};

use http::header::HOST;
use http::{HeaderMap, Request};

use crate::headers::{Facts, Scan, client};
use crate::route::{Captures, RouteHeaders};
use crate::{Failure, RequestBody};

/// Who chained requests come from.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Why a chained request has no response.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No HTTP trigger runs this component.
    #[error("no HTTP trigger runs the component `{component}`")]
    Unknown {
        /// The id that was asked for.
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
    request: Request<RequestBody>,
    route: &RouteHeaders,
) -> Result<Request<RequestBody>, ChainError> {
    let (mut parts, mut body) = request.into_parts();
    body.set_peer(NOBODY);
    let uri = &parts.uri;
    let (Some(scheme), Some(_), Some(path)) = (uri.scheme_str(), uri.authority(), uri.path_and_query()) else {
        return Err(ChainError::Relative(parts.uri));
    };
    let mut headers: HeaderMap = std::mem::take(&mut parts.headers);
    Scan::new(&headers)?.clean(&mut headers);
    headers.remove(HOST);
    let end = path.path().trim_end_matches('/').len().max(1);
    let captures = Captures { parameters: Vec::new(), rest: Some(1..end) };
    Facts { route, captures: &captures, scheme: &format!("{scheme}://"), host: None, path, client: &client(NOBODY) }
        .add_to(&mut headers)?;
    parts.headers = headers;
    Ok(Request::from_parts(parts, body))
}
