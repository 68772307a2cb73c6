//! One request and its response.

use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use skiff_host::{HttpBody, HttpCall, HttpError};
use tokio::time::timeout;

use crate::body::{Connection, Response};
use crate::pool::{Key, Origin, Sender};
use crate::repeat::Repeat;
use crate::{Inner, faults};

/// How often a request is tried on connections that were kept.
const MOST_TRIES: usize = 3;

impl Inner {
    pub(crate) async fn exchange(
        &self,
        call: HttpCall,
    ) -> Result<http::Response<HttpBody>, HttpError> {
        let HttpCall {
            component,
            tls,
            host,
            port,
            unblocked,
            mut request,
            timeouts,
        } = call;
        // A positive answer would make the connection a tunnel.
        if *request.method() == Method::CONNECT {
            return Err(HttpError::HttpRequestMethodInvalid);
        }
        let rule = tls.then(|| self.tls.rule(&component, &host)).flatten();
        let origin = self.pool.origin(Key {
            rule,
            tls,
            host,
            port,
            unblocked,
        });
        let origin = origin.map_err(|_| HttpError::HttpRequestUriInvalid)?;
        let (mut tries, mut may_repeat) = (0, true);
        loop {
            // A server may close one connection after the other just then.
            let kept = origin.take().filter(|_| tries < MOST_TRIES);
            tries += 1;
            let was_kept = kept.is_some();
            let mut repeat = None;
            let sender = match kept {
                Some(sender) => sender,
                None => {
                    let connecting = self.connect(&component, &origin);
                    timeout(timeouts.connect, connecting)
                        .await
                        .map_err(|_| HttpError::ConnectionTimeout)??
                }
            };
            if may_repeat && (was_kept || matches!(sender, Sender::Http2(_))) {
                let (lent, again) = Repeat::of(request);
                (request, repeat) = (lent, Some(again));
            }
            match send(sender, request, &origin, timeouts.first_byte).await? {
                Ok((response, connection)) => {
                    return Ok(response.map(|incoming| {
                        Response::new(incoming, timeouts.between_bytes, connection).boxed_unsync()
                    }));
                }
                Err(mut refused) => match refused.take_message() {
                    // The server had closed it, and has seen nothing of the request.
                    Some(unsent) if was_kept => request = unsent,
                    _ => {
                        let error = refused.into_error();
                        if let Some(again) = repeat.and_then(|repeat| repeat.after(&error)) {
                            // Once, on a new connection.
                            (request, may_repeat, tries) = (again, false, MOST_TRIES);
                            continue;
                        }
                        tracing::debug!(component_id = %component, host = %origin.host, port, %error, "No response");
                        return Err(faults::of_exchange(&error));
                    }
                },
            }
        }
    }
}

type Answered = Result<(http::Response<Incoming>, Connection), TrySendError<Request<HttpBody>>>;

/// Sends a request and waits for the head of its response.
async fn send(
    sender: Sender,
    request: Request<HttpBody>,
    origin: &Origin,
    patience: Duration,
) -> Result<Answered, HttpError> {
    let late = |_| HttpError::ConnectionReadTimeout;
    match sender {
        Sender::Http1(mut connection) => {
            let request = over_http1(request, origin);
            let sending = async {
                // It may still have to note that the last response has ended. If it cannot,
                // sending fails.
                let _ = connection.sender.ready().await;
                connection.sender.try_send_request(request).await
            };
            let response = timeout(patience, sending).await.map_err(late)?;
            Ok(response.map(|response| (response, Connection::Http1(connection))))
        }
        Sender::Http2(mut connection) => {
            let request = over_http2(request, origin)?;
            let sending = connection.sender.try_send_request(request);
            let response = timeout(patience, sending).await.map_err(late)?;
            Ok(response.map(|response| (response, Connection::Http2(connection))))
        }
    }
}

/// With the path alone as its target, and the host in its header.
fn over_http1(mut request: Request<HttpBody>, origin: &Origin) -> Request<HttpBody> {
    let path = path(request.uri());
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    headers.insert(HOST, origin.authority.clone());
    request
}

/// With the whole URI as its target.
fn over_http2(
    mut request: Request<HttpBody>,
    origin: &Origin,
) -> Result<Request<HttpBody>, HttpError> {
    let scheme = if origin.tls {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    let authority = Authority::try_from(origin.authority.as_bytes());
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority.map_err(|_| HttpError::HttpRequestUriInvalid)?)
        .path_and_query(path(request.uri()))
        .build();
    *request.uri_mut() = uri.map_err(|_| HttpError::HttpRequestUriInvalid)?;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(HOST);
    Ok(request)
}

fn path(uri: &Uri) -> PathAndQuery {
    let path = uri.path_and_query().cloned();
    path.unwrap_or(PathAndQuery::from_static("/"))
}
