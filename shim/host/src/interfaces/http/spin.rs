//! `fermyon:spin/http` of Spin's first SDKs: whole requests and responses, and redirects that
//! are followed as reqwest follows them by default.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION,
    REFERER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use percent_encoding::percent_decode_str;
use skiff_manifest::hosts::Url;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use super::client::{HttpBody, HttpError};
use super::origin::Origin;
use super::outbound::{ONESELF, Outbound};
use super::spin_types;
use crate::state::State;

/// The most bytes of a response's body.
const MOST: usize = 128 << 20;

/// The most redirects of a request.
const REDIRECTS: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(
    dead_code,
    reason = "the interface has these cases; not all are used here"
)]
enum Fault {
    #[component(name = "success")]
    Success,
    #[component(name = "destination-not-allowed")]
    DestinationNotAllowed,
    #[component(name = "invalid-url")]
    InvalidUrl,
    #[component(name = "request-error")]
    RequestError,
    #[component(name = "runtime-error")]
    RuntimeError,
    #[component(name = "too-many-requests")]
    TooManyRequests,
}

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::HttpRequestDenied => Fault::DestinationNotAllowed,
            HttpError::HttpRequestUriInvalid => Fault::InvalidUrl,
            HttpError::ConnectionLimitReached => Fault::TooManyRequests,
            _ => Fault::RuntimeError,
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    // It has types only.
    linker.instance("fermyon:spin/http-types")?;
    let mut http = linker.instance("fermyon:spin/http")?;
    http.func_wrap_async(
        "send-request",
        |mut store: StoreContextMut<'_, State>, (asked,): (spin_types::Request,)| {
            Box::new(async move {
                let state = store.data_mut();
                if !asked.params.is_empty() {
                    tracing::warn!(component_id = %state.grants().component, "The parameters of an outbound request are ignored; they belong into its URL");
                }
                let outbound = state.outbound();
                let origin = state.http.origin();
                Ok((send(state, &outbound, &origin, asked).await?,))
            })
        },
    )
}

async fn send(
    state: &mut State,
    outbound: &Outbound,
    origin: &Origin,
    asked: spin_types::Request,
) -> wasmtime::Result<Result<spin_types::Response, Fault>> {
    let mut step = match Step::first(asked) {
        Ok(step) => step,
        Err(fault) => return Ok(Err(fault)),
    };
    for _ in 0..=REDIRECTS {
        super::calls::check_url(outbound, &step.url)?;
        let request = match step.request() {
            Ok(request) => request,
            Err(fault) => return Ok(Err(fault)),
        };
        let answered = match outbound.send(origin, request, None) {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        let response = match answered {
            Ok(response) => response,
            Err(error) => return Ok(Err(error.into())),
        };
        match step.redirected(&response) {
            Some(Ok(next)) => step = next,
            Some(Err(fault)) => return Ok(Err(fault)),
            None => return whole(state, response).await,
        }
    }
    Ok(Err(Fault::RuntimeError))
}

/// The whole of a response. What has come of it counts as memory of the guest.
async fn whole(
    state: &mut State,
    response: Response<HttpBody>,
) -> wasmtime::Result<Result<spin_types::Response, Fault>> {
    let (head, mut body) = response.into_parts();
    let mut headers = Vec::with_capacity(head.headers.len());
    for (name, value) in &head.headers {
        match std::str::from_utf8(value.as_bytes()) {
            Ok(value) => headers.push((name.to_string(), value.to_owned())),
            Err(_) => return Ok(Err(Fault::RuntimeError)),
        }
    }
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Ok(Err(error.into())),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if all.len() + data.len() > MOST {
            tracing::warn!(component_id = %state.grants().component, "The response to an outbound request is larger than {MOST} bytes");
            return Ok(Err(Fault::RuntimeError));
        }
        all.extend_from_slice(&data);
        state.holds(all.len())?;
    }
    Ok(Ok(spin_types::Response {
        status: head.status.as_u16(),
        headers: Some(headers),
        body: Some(all.into()),
    }))
}

/// One request of a chain of redirects.
#[derive(Debug)]
struct Step {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Step {
    fn first(asked: spin_types::Request) -> Result<Self, Fault> {
        let mut headers = HeaderMap::new();
        for (name, value) in asked.headers {
            let name = HeaderName::try_from(name).map_err(|_| Fault::RuntimeError)?;
            let value = HeaderValue::try_from(value).map_err(|_| Fault::RuntimeError)?;
            if !super::is_forbidden(&name) {
                headers.append(name, value);
            }
        }
        headers.remove(CONTENT_LENGTH);
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("*/*"));
        let mut url = url(&asked.uri)?;
        if let Some(credentials) = take_credentials(&mut url) {
            headers.entry(AUTHORIZATION).or_insert(credentials);
        }
        Ok(Step {
            method: asked.method.into(),
            url,
            headers,
            body: asked.body.unwrap_or_default().into(),
        })
    }

    fn request(&self) -> Result<Request<HttpBody>, Fault> {
        let mut url = self.url.clone();
        url.set_fragment(None);
        let body = Full::new(self.body.clone());
        let body = body.map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder().method(&self.method).uri(url.as_str());
        let mut request = request.body(body).map_err(|_| Fault::InvalidUrl)?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    /// The next request, if the response is a redirect.
    fn redirected(&self, response: &Response<HttpBody>) -> Option<Result<Self, Fault>> {
        let keeps = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => false,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return None,
        };
        let location = response.headers().get(LOCATION)?.to_str().ok()?;
        let Ok(mut url) = self.url.join(location) else {
            return Some(Err(Fault::RuntimeError));
        };
        let mut headers = self.headers.clone();
        let (mut method, mut body) = (self.method.clone(), self.body.clone());
        if !keeps {
            for name in [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING] {
                headers.remove(name);
            }
            body = Bytes::new();
            if !matches!(method, Method::GET | Method::HEAD) {
                method = Method::GET;
            }
        }
        let port = |url: &Url| url.port_or_known_default();
        if url.host_str() != self.url.host_str() || port(&url) != port(&self.url) {
            // Secrets are for the first host alone.
            for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE] {
                headers.remove(name);
            }
        }
        if let Some(credentials) = take_credentials(&mut url) {
            headers.insert(AUTHORIZATION, credentials);
        }
        headers.remove(REFERER);
        headers.extend(self.referer(&url).map(|referer| (REFERER, referer)));
        Some(Ok(Step {
            method,
            url,
            headers,
            body,
        }))
    }

    fn referer(&self, next: &Url) -> Option<HeaderValue> {
        if self.url.scheme() == "https" && next.scheme() != "https" {
            return None;
        }
        let mut url = self.url.clone();
        url.set_fragment(None);
        HeaderValue::try_from(url.as_str()).ok()
    }
}

/// A URL as guests write it: a path is the application's own, a scheme may be left out, and
/// user information may contain what separates the parts of a URL.
fn url(text: &str) -> Result<Url, Fault> {
    if text.starts_with('/') {
        return Url::parse(&format!("http://{ONESELF}{text}")).map_err(|_| Fault::InvalidUrl);
    }
    let text = encode_user(text);
    match Url::parse(&text) {
        Ok(url) if url.has_host() => Ok(url),
        _ if text.contains("://") => Err(Fault::InvalidUrl),
        _ => Url::parse(&format!("https://{text}")).map_err(|_| Fault::InvalidUrl),
    }
}

/// Encodes what in a password would end it. User information has a colon and ends with the
/// last `@` before the path.
fn encode_user(text: &str) -> Cow<'_, str> {
    let start = text.find("://").map_or(0, |scheme| scheme + 3);
    let (scheme, rest) = text.split_at(start);
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    let Some((user, _)) = authority.rsplit_once('@') else {
        return Cow::Borrowed(text);
    };
    // An `@` in a query is not the end of user information.
    let is_user = user
        .split_once(':')
        .is_some_and(|(name, _)| !name.contains(['?', '#']));
    if !is_user || !user.contains(['?', '#', '@']) {
        return Cow::Borrowed(text);
    }
    let encoded = user
        .replace('?', "%3F")
        .replace('#', "%23")
        .replace('@', "%40");
    Cow::Owned(format!("{scheme}{encoded}{}", &rest[user.len()..]))
}

/// The user information of a URL, as the header that it is sent as.
fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let mut user = decoded(url.username());
    user.push(b':');
    user.extend(decoded(url.password().unwrap_or_default()));
    // Neither can fail where there was a user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(user))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    fn step(method: spin_types::Method, uri: &str) -> Step {
        let asked = spin_types::Request {
            method,
            uri: uri.to_owned(),
            headers: vec![
                ("authorization".to_owned(), "secret".to_owned()),
                ("content-type".to_owned(), "text/plain".to_owned()),
                ("host".to_owned(), "elsewhere".to_owned()),
            ],
            params: Vec::new(),
            body: Some(b"ping".to_vec()),
        };
        Step::first(asked).unwrap()
    }

    fn redirect(step: &Step, status: u16, location: &str) -> Step {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let response = Response::builder()
            .status(status)
            .header(LOCATION, location);
        step.redirected(&response.body(body).unwrap())
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_url_may_lack_its_scheme_or_its_host() {
        assert_eq!(url("/a?b").unwrap().as_str(), "http://self.alt/a?b");
        assert_eq!(
            url("example.com/a").unwrap().as_str(),
            "https://example.com/a"
        );
        assert_eq!(
            url("localhost:80").unwrap().as_str(),
            "https://localhost:80/"
        );
        assert_eq!(url("http://a b/").unwrap_err(), Fault::InvalidUrl);
    }

    #[test]
    fn user_information_of_a_url_is_sent_as_a_header() {
        for (text, url_of, user) in [
            ("http://a:b@c.test/d", "http://c.test/d", "a:b"),
            ("http://a:b%20c@d.test/", "http://d.test/", "a:b c"),
            (
                "https://a:?b#@c@d.test:1/e@f",
                "https://d.test:1/e@f",
                "a:?b#@c",
            ),
            ("a:b#c@d.test/e", "https://d.test/e", "a:b#c"),
            ("http://token@c.test/", "http://c.test/", "token:"),
        ] {
            let mut url = url(text).unwrap();
            let value = take_credentials(&mut url).unwrap();
            assert_eq!(url.as_str(), url_of);
            assert!(value.is_sensitive());
            let (_, encoded) = value.to_str().unwrap().split_once("Basic ").unwrap();
            assert_eq!(STANDARD.decode(encoded).unwrap(), user.as_bytes(), "{text}");
        }
        for text in [
            "http://a.test/b@c",
            "http://a.test?b=c@d",
            "http://a.test#b:c@d",
        ] {
            assert_eq!(url(text).unwrap().host_str(), Some("a.test"), "{text}");
            assert!(
                take_credentials(&mut url(text).unwrap()).is_none(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_header_of_the_guests_own_comes_before_user_information() {
        let step = step(spin_types::Method::Get, "http://a:b@c.test/");
        assert_eq!(step.headers[AUTHORIZATION], "secret");
        assert_eq!(step.url.as_str(), "http://c.test/");
    }

    #[test]
    fn a_redirect_keeps_what_its_status_allows() {
        let first = step(spin_types::Method::Post, "https://a.test/x");
        assert!(!first.headers.contains_key("host"));
        let kept = redirect(&first, 307, "/y");
        assert_eq!(
            (kept.method, kept.url.as_str()),
            (Method::POST, "https://a.test/y")
        );
        assert_eq!((&kept.body[..], kept.headers.len()), (&b"ping"[..], 4));
        assert_eq!(kept.headers[REFERER], "https://a.test/x");
        let seen = redirect(&first, 302, "http://b.test/");
        assert_eq!((seen.method, seen.body.len()), (Method::GET, 0));
        // Neither secret, nor type, nor referer go to another host without TLS.
        assert_eq!(seen.headers.keys().collect::<Vec<_>>(), [ACCEPT]);
        assert_eq!(
            redirect(&step(spin_types::Method::Head, "http://a/"), 303, "/").method,
            Method::HEAD
        );
    }

    #[test]
    fn each_error_has_its_case() {
        for (error, fault) in [
            (HttpError::HttpRequestDenied, Fault::DestinationNotAllowed),
            (HttpError::HttpRequestUriInvalid, Fault::InvalidUrl),
            (HttpError::ConnectionLimitReached, Fault::TooManyRequests),
            (HttpError::DestinationIpProhibited, Fault::RuntimeError),
            (HttpError::ConnectionRefused, Fault::RuntimeError),
        ] {
            assert_eq!(Fault::from(error), fault);
        }
    }
}
