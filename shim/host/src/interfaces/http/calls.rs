//! The functions that send a request, of both versions. That of WASI 0.2 is our own, as
//! `wasmtime-wasi-http` 48 makes two tasks for each request; for WASI 0.3 it is
//! `wasmtime-wasi-http`'s, and before it what has to be known or changed about a request.

use http::header::CONTENT_LENGTH;
use http::uri::{Authority, Scheme};
use http_body_util::{BodyExt as _, Empty};
use skiff_manifest::hosts::Url;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::p3::bindings::http::client::HostWithStore;
use wasmtime_wasi_http::p3::bindings::http::types as p3_types;
use wasmtime_wasi_http::p3::{Request, Response};

use super::awaited::{self, Awaited};
use super::client::{HttpBody, HttpError};
use super::outbound::{ONESELF, Outbound};
use crate::state::{State, http_view};

type Asked = (
    Resource<HostOutgoingRequest>,
    Option<Resource<types::RequestOptions>>,
);
type Handled = Result<Resource<Awaited>, types::ErrorCode>;
type Sent = Result<Resource<Response>, p3_types::ErrorCode>;

/// Replaces `wasi:http/outgoing-handler`, and `http-error-code` of `wasi:http/types`.
pub(super) fn add_p2(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap(
        "http-error-code",
        |store: StoreContextMut<'_, State>, (error,): (Resource<types::IoError>,)| {
            Ok((error_code(store.data().table.get(&error)?),))
        },
    )?;
    awaited::add_to_linker(&mut types)?;
    let mut handler = linker.instance("wasi:http/outgoing-handler@0.2.12")?;
    handler.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, State>, asked: Asked| {
            let (state, (request, options)) = (store.data_mut(), asked);
            let options = options.map(|options| state.table.delete(options));
            Ok((handle(state, request, options.transpose()?)?,))
        },
    )
}

/// The code of an error of a stream: `wasmtime-wasi-http` 48 knows those that it made itself, but
/// not those of a body.
fn error_code(error: &types::IoError) -> Option<types::ErrorCode> {
    if let Some(code) = error.downcast_ref() {
        return Some(types::ErrorCode::clone(code));
    }
    Some(match error.downcast_ref()? {
        HttpError::ConnectionReadTimeout => types::ErrorCode::ConnectionReadTimeout,
        HttpError::ConnectionTerminated => types::ErrorCode::ConnectionTerminated,
        HttpError::HttpRequestBodySize(size) => types::ErrorCode::HttpRequestBodySize(*size),
        HttpError::InternalError(text) => types::ErrorCode::InternalError(text.clone()),
        _ => types::ErrorCode::HttpProtocolError,
    })
}

/// Replaces `wasi:http/client`.
pub(super) fn add_p3(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut client = linker.instance("wasi:http/client@0.3.0")?;
    client.func_wrap_concurrent("send", |accessor, (request,): (Resource<Request>,)| {
        Box::pin(async move { Ok((send(accessor, request).await?,)) })
    })
}

/// A component that does not exist cannot be called: the caller traps, as in Spin.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP trigger of the application runs a component `{0}`")]
struct NoNeighbour(String);

/// Traps if a URL is for a component that does not exist.
pub(super) fn check_url(outbound: &Outbound, url: &Url) -> wasmtime::Result<()> {
    let scheme = match url.scheme() {
        "http" => Scheme::HTTP,
        _ => Scheme::HTTPS,
    };
    let (host, port) = (url.host_str().unwrap_or_default(), url.port());
    let authority = match port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    Ok(check(outbound, &scheme, &authority)?)
}

fn check(outbound: &Outbound, scheme: &Scheme, authority: &str) -> Result<(), NoNeighbour> {
    match outbound.missing_neighbour(scheme, authority) {
        Some(component) => Err(NoNeighbour(component.to_owned())),
        None => Ok(()),
    }
}

/// A scheme of HTTP, in whatever case it is written.
fn in_any_case(scheme: &str) -> Option<Scheme> {
    scheme
        .to_ascii_lowercase()
        .parse()
        .ok()
        .filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme))
}

/// Sends a request, with these options. An error that is known at once is reported at once,
/// as a guest that begins to write a body would only see that nobody reads it.
pub(in crate::interfaces) fn handle(
    state: &mut State,
    request: Resource<HostOutgoingRequest>,
    options: Option<types::RequestOptions>,
) -> wasmtime::Result<Handled> {
    let request = match message(state.table.delete(request)?) {
        Ok(request) => request,
        Err(code) => return Ok(Err(code)),
    };
    if let (Some(scheme), Some(authority)) = (request.uri().scheme(), request.uri().authority()) {
        check(state.http.outbound(), scheme, authority.as_str())?;
    }
    match state.http.send(request, options) {
        Ok(answer) => Ok(Ok(state.table.push(Awaited::new(answer))?)),
        Err(error) => Ok(Err(awaited::code(&mut http_view(state), error)?)),
    }
}

/// The request that a guest has put together.
fn message(asked: HostOutgoingRequest) -> Result<http::Request<HttpBody>, types::ErrorCode> {
    let method = asked.method.try_into();
    let method = method.map_err(|_| types::ErrorCode::HttpRequestMethodInvalid)?;
    let scheme = match &asked.scheme {
        Some(types::Scheme::Http) => Some(Scheme::HTTP),
        Some(types::Scheme::Https) | None => Some(Scheme::HTTPS),
        Some(types::Scheme::Other(other)) => in_any_case(other),
    };
    let scheme = scheme.ok_or(types::ErrorCode::HttpRequestUriInvalid)?;
    // A relative URL is for the application itself.
    let authority = asked.authority.as_deref().unwrap_or(ONESELF);
    let uri = http::Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(asked.path_with_query.as_deref().unwrap_or("/"))
        .build()
        .map_err(|_| types::ErrorCode::HttpRequestUriInvalid)?;
    let length = asked.headers.get(CONTENT_LENGTH);
    if asked.body.is_none() && length.is_some_and(|length| length != "0") {
        return Err(types::ErrorCode::HttpRequestBodySize(Some(0)));
    }
    let body = asked.body.unwrap_or_else(|| {
        let nothing = Empty::new().map_err(|never| match never {});
        nothing.boxed_unsync()
    });
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = asked.headers.into();
    Ok(request)
}

async fn send(accessor: &Accessor<State>, request: Resource<Request>) -> wasmtime::Result<Sent> {
    accessor.with(|mut access| -> wasmtime::Result<()> {
        let mut store = access.as_context_mut();
        let outbound = store.data().outbound();
        if outbound.is_granted() {
            // The outermost task is the call that answers a request.
            let task = store.async_call_stack()?.last();
            store.data_mut().answers(task);
        }
        let asked = http_view(store.data_mut()).table.get_mut(&request)?;
        let scheme = asked.scheme.as_ref();
        if let Some(scheme) = scheme.and_then(|scheme| in_any_case(scheme.as_str())) {
            asked.scheme = Some(scheme);
        }
        match &asked.authority {
            None => asked.authority = Some(Authority::from_static(ONESELF)),
            Some(authority) => {
                let scheme = asked.scheme.as_ref().unwrap_or(&Scheme::HTTPS);
                check(&outbound, scheme, authority.as_str())?;
            }
        }
        Ok(())
    })?;
    // It looks at the origin before anything else can run.
    let accessor = accessor.with_getter::<WasiHttp>(http_view);
    let sent: Result<_, TrappableError<_>> = WasiHttp::send(&accessor, request).await;
    match sent {
        Ok(response) => Ok(Ok(response)),
        Err(error) => error.downcast().map(Err),
    }
}
