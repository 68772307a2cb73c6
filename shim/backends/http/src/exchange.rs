//! One request and its response.

use std::sync::Arc;

use futures::TryFutureExt as _;
use futures::future::Either;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use skiff_host::{HttpBody, HttpCall, HttpError, Timeouts};
use tokio::time::timeout;

use crate::body::{Connection, Response};
use crate::pool::{Key, Origin, Sender};
use crate::repeat::Repeat;
use crate::{Inner, faults};

/// How often a request is tried on connections that were kept.
const MOST_TRIES: usize = 3;

/// Where a request goes, and how long it may take.
pub(crate) struct Exchange {
    component: Arc<str>,
    origin: Arc<Origin>,
    timeouts: Timeouts,
}

/// A request that was sent, with what is known of its answer.
pub(crate) struct Sent<A> {
    answer: A,
    on_kept: bool,
    repeat: Option<Repeat>,
}

/// A response on its connection, or the request if the server has seen nothing of it.
type Answered = Result<(http::Response<Incoming>, Connection), TrySendError<Request<HttpBody>>>;

/// A request that was sent, or one that waits for a connection.
type Begun<A> = Result<Sent<A>, Request<HttpBody>>;

impl Inner {
    /// Sends a request at once if there is a connection for it.
    pub(crate) fn begin(
        &self,
        call: HttpCall,
    ) -> Result<
        (
            Exchange,
            Begun<impl Future<Output = Result<Answered, HttpError>> + use<>>,
        ),
        HttpError,
    > {
        // A positive answer would make the connection a tunnel.
        if *call.request.method() == Method::CONNECT {
            return Err(HttpError::HttpRequestMethodInvalid);
        }
        let rule = call.tls.then(|| self.tls.rule(&call.component, &call.host));
        let origin = self.pool.origin(Key {
            rule: rule.flatten(),
            tls: call.tls,
            host: call.host,
            port: call.port,
            unblocked: call.unblocked,
        });
        let exchange = Exchange {
            component: call.component,
            origin: origin.map_err(|_| HttpError::HttpRequestUriInvalid)?,
            timeouts: call.timeouts,
        };
        let begun = match exchange.origin.take() {
            Some(sender) if sender.is_ready() => {
                Ok(exchange.send(sender, call.request, true, true)?)
            }
            kept => {
                if let Some(sender) = kept {
                    sender.give_back();
                }
                Err(call.request)
            }
        };
        Ok((exchange, begun))
    }

    /// Waits for the response.
    pub(crate) async fn finish(
        &self,
        exchange: Exchange,
        begun: Begun<impl Future<Output = Result<Answered, HttpError>>>,
    ) -> Result<http::Response<HttpBody>, HttpError> {
        let (mut tries, mut may_repeat) = (1, true);
        let mut sent = match begun {
            Ok(sent) => sent.answered().await?,
            Err(request) => self.attempt(&exchange, request, true, true).await?,
        };
        loop {
            let mut refused = match sent.answer {
                Ok((response, connection)) => {
                    let patience = exchange.timeouts.between_bytes;
                    return Ok(response.map(|incoming| {
                        Response::new(incoming, patience, connection).boxed_unsync()
                    }));
                }
                Err(refused) => refused,
            };
            let request = match refused.take_message() {
                // The server had closed it, and has seen nothing of the request.
                Some(unsent) if sent.on_kept => unsent,
                _ => {
                    let error = refused.into_error();
                    let Some(again) = sent.repeat.and_then(|repeat| repeat.after(&error)) else {
                        let (component, origin) = (&exchange.component, &exchange.origin);
                        tracing::debug!(component_id = %component, host = %origin.host, port = origin.port, %error, "No response");
                        return Err(faults::of_exchange(&error));
                    };
                    // Once, on a new connection.
                    (may_repeat, tries) = (false, MOST_TRIES);
                    again
                }
            };
            // A server may close one connection after the other just then.
            let may_be_kept = tries < MOST_TRIES;
            tries += 1;
            let attempt = self.attempt(&exchange, request, may_be_kept, may_repeat);
            sent = attempt.await?;
        }
    }

    /// Finds a connection, sends a request and waits for its answer.
    async fn attempt(
        &self,
        exchange: &Exchange,
        request: Request<HttpBody>,
        may_be_kept: bool,
        may_repeat: bool,
    ) -> Result<Sent<Answered>, HttpError> {
        let Exchange {
            component,
            origin,
            timeouts,
        } = exchange;
        let kept = origin.take().filter(|_| may_be_kept);
        let on_kept = kept.is_some();
        let sender = match kept {
            Some(mut sender) => {
                // It may still have to note that the last response has ended. If it cannot,
                // sending fails.
                let ready = timeout(timeouts.first_byte, sender.ready());
                ready.await.map_err(|_| HttpError::ConnectionReadTimeout)?;
                sender
            }
            None => timeout(timeouts.connect, self.connect(component, origin))
                .await
                .map_err(|_| HttpError::ConnectionTimeout)??,
        };
        let sent = exchange.send(sender, request, on_kept, may_repeat)?;
        sent.answered().await
    }
}

impl<A: Future<Output = Result<Answered, HttpError>>> Sent<A> {
    async fn answered(self) -> Result<Sent<Answered>, HttpError> {
        Ok(Sent {
            answer: self.answer.await?,
            on_kept: self.on_kept,
            repeat: self.repeat,
        })
    }
}

impl Exchange {
    /// Sends a request; its answer is the head of the response.
    fn send(
        &self,
        sender: Sender,
        mut request: Request<HttpBody>,
        on_kept: bool,
        may_repeat: bool,
    ) -> Result<Sent<impl Future<Output = Result<Answered, HttpError>> + use<>>, HttpError> {
        let mut repeat = None;
        if may_repeat && (on_kept || matches!(sender, Sender::Http2(_))) {
            let (lent, again) = Repeat::of(request);
            (request, repeat) = (lent, Some(again));
        }
        let answer = match sender {
            Sender::Http1(mut connection) => {
                let request = over_http1(request, &self.origin);
                let answer = connection.sender.try_send_request(request);
                let whole = |response| (response, Connection::Http1(connection));
                Either::Left(answer.map_ok(whole))
            }
            Sender::Http2(mut connection) => {
                let request = over_http2(request, &self.origin)?;
                let answer = connection.sender.try_send_request(request);
                let whole = |response| (response, Connection::Http2(connection));
                Either::Right(answer.map_ok(whole))
            }
        };
        let answer = timeout(self.timeouts.first_byte, answer);
        Ok(Sent {
            answer: answer.map_err(|_| HttpError::ConnectionReadTimeout),
            on_kept,
            repeat,
        })
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
