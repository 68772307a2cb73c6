//! A route's target, as the owner declares it and as the router keeps it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::{Response, StatusCode};

use super::pattern::{Captures, Pattern, PatternError, normalise};
use crate::ResponseBody;
use crate::headers::template;

/// One trigger of an application.
#[derive(Debug)]
pub struct Route<H> {
    /// The trigger's id, for messages.
    pub trigger: String,
    /// How it is reached.
    pub path: RoutePath,
    /// What answers its requests.
    pub target: Target<H>,
}

/// How a trigger is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoutePath {
    /// A route, exactly as in the manifest.
    Public(String),
    /// Only other components of the application can call it, with
    /// [`Router::chain`](super::Router::chain).
    Private,
}

/// What answers a route's requests.
#[derive(Debug)]
pub enum Target<H> {
    /// A handler, with the id of the component that it runs.
    Handler {
        /// The component's id, for log lines and chained requests.
        component: String,
        /// The handler. Triggers of one component may share it.
        handler: Arc<H>,
    },
    /// The same response for every request.
    Static(StaticAnswer),
}

/// A fixed response, checked and ready to be sent.
#[derive(Debug, Clone)]
pub struct StaticAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Why something cannot be a fixed response.
#[derive(Debug, thiserror::Error)]
pub enum StaticAnswerError {
    /// The status is not one from 200 to 599.
    #[error("{0} is not a status that ends a request; use 200 to 599")]
    Status(u16),
    /// An invalid header name.
    #[error("`{0}` cannot be the name of a header")]
    HeaderName(String),
    /// An invalid header value.
    #[error("the value of the header `{0}` has bytes that are not allowed in a header")]
    HeaderValue(String),
}

impl StaticAnswer {
    /// Checks status and headers. Headers that belong to the connection, including
    /// `content-length`, are removed, as the server writes them.
    pub fn new<'a>(
        status: u16,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: impl Into<Bytes>,
    ) -> Result<Self, StaticAnswerError> {
        let code = StatusCode::from_u16(status)
            .ok()
            .filter(|_| (200..600).contains(&status));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| StaticAnswerError::HeaderName(name.to_owned()))?;
            let value = HeaderValue::from_str(value)
                .map_err(|_| StaticAnswerError::HeaderValue(name.to_owned()))?;
            let of_connection = [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE]
                .contains(&key)
                || matches!(key.as_str(), "keep-alive" | "proxy-connection");
            if !of_connection {
                map.append(key, value);
            }
        }
        let status = code.ok_or(StaticAnswerError::Status(status))?;
        Ok(StaticAnswer {
            status,
            headers: map,
            body: body.into(),
        })
    }

    pub(crate) fn response(&self) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// A route that is not valid.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The route does not parse.
    #[error("trigger `{trigger}`: route `{route}`: {source}")]
    Pattern {
        /// The trigger's id.
        trigger: String,
        /// The route as declared.
        route: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// The route cannot be passed to the guest, which gets it as a header.
    #[error("trigger `{trigger}`: route {route:?} has characters that are not allowed in a header")]
    Characters {
        /// The trigger's id.
        trigger: String,
        /// The route as declared.
        route: String,
    },
}

/// Every invalid route, one per line.
#[derive(Debug)]
pub struct RouteErrors(pub Vec<RouteError>);

impl std::fmt::Display for RouteErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for RouteErrors {}

/// A handler with its component's id, which a request holds on to.
#[derive(Debug)]
pub(crate) struct Callee<H> {
    pub(crate) component: Arc<str>,
    pub(crate) handler: Arc<H>,
}

/// A route's target, inside the router.
#[derive(Debug)]
pub(crate) enum Destination<H> {
    Handler(Arc<Callee<H>>),
    Static(StaticAnswer),
}

/// A public route, ready for requests.
#[derive(Debug)]
pub(crate) struct Matched<H> {
    pub(crate) destination: Destination<H>,
    pub(crate) headers: Arc<RouteHeaders>,
}

/// What a route contributes to its requests' headers.
#[derive(Debug)]
pub(crate) struct RouteHeaders {
    pattern: Pattern,
    /// The headers of every request. Values that do not depend on the route are empty.
    pub(crate) template: HeaderMap,
    /// `spin-path-match-<name>` for each parameter, in order.
    pub(crate) parameters: Vec<HeaderName>,
}

impl RouteHeaders {
    /// `None` if the route has characters that are not allowed in a header.
    pub(crate) fn new(raw: &str, pattern: &Pattern) -> Option<Self> {
        let name = |parameter: &str| {
            let parameter = parameter.replace('_', "-");
            HeaderName::from_bytes(format!("spin-path-match-{parameter}").as_bytes()).ok()
        };
        let without_wildcard = raw.strip_suffix("/...").unwrap_or(raw);
        Some(RouteHeaders {
            template: template(
                value(&normalise(raw))?,
                value(raw)?,
                value(without_wildcard)?,
            ),
            parameters: pattern.parameters().map(name).collect::<Option<_>>()?,
            pattern: pattern.clone(),
        })
    }

    /// The parts of a matched path that the route captures.
    pub(crate) fn captures(&self, path: &str) -> Captures {
        self.pattern.matches(path).unwrap_or_default()
    }
}

/// Most applications have one route, `/...`: its values are static, so cloning them touches
/// no reference count.
fn value(text: &str) -> Option<HeaderValue> {
    match text {
        "" => Some(HeaderValue::from_static("")),
        "/..." => Some(HeaderValue::from_static("/...")),
        _ => HeaderValue::from_str(text).ok(),
    }
}
