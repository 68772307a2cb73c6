//! `wasi:http` of 0.2.0-rc-2023-10-18, and what 0.2.0-rc-2023-11-10 has in another way.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource};
use wasmtime_wasi_http::WasiHttpCtxView;
use wasmtime_wasi_http::p2::HeaderResult;
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureTrailers, Headers, HostFields, HostFutureTrailers, HostOutgoingBody,
    HostResponseOutparam, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, ResponseOutparam, Scheme, Trailers,
};

use crate::interfaces::http::awaited::{self, Awaited};
use crate::interfaces::http::handle;
use crate::state::{State, http_view};

/// The error of the first candidate.
#[derive(Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
enum Fault {
    #[component(name = "invalid-url")]
    InvalidUrl(String),
    #[component(name = "timeout-error")]
    Timeout(String),
    #[component(name = "protocol-error")]
    Protocol(String),
    #[component(name = "unexpected-error")]
    Unexpected(String),
}

impl From<ErrorCode> for Fault {
    fn from(code: ErrorCode) -> Self {
        let text = format!("{code:?}");
        match code {
            ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestUriTooLong => {
                Fault::InvalidUrl(text)
            }
            ErrorCode::DnsTimeout
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => Fault::Timeout(text),
            ErrorCode::HttpProtocolError
            | ErrorCode::HttpUpgradeFailed
            | ErrorCode::HttpRequestMethodInvalid
            | ErrorCode::HttpResponseIncomplete
            | ErrorCode::TlsProtocolError
            | ErrorCode::TlsCertificateError => Fault::Protocol(text),
            ErrorCode::HttpRequestDenied => {
                Fault::Unexpected("the destination is not allowed".to_owned())
            }
            _ => Fault::Unexpected(text),
        }
    }
}

impl From<Fault> for ErrorCode {
    fn from(fault: Fault) -> Self {
        let (Fault::InvalidUrl(text)
        | Fault::Timeout(text)
        | Fault::Protocol(text)
        | Fault::Unexpected(text)) = fault;
        ErrorCode::InternalError(Some(text))
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Timeouts {
    #[component(name = "connect-timeout-ms")]
    connect: Option<u32>,
    #[component(name = "first-byte-timeout-ms")]
    first_byte: Option<u32>,
    #[component(name = "between-bytes-timeout-ms")]
    between_bytes: Option<u32>,
}

impl From<Timeouts> for RequestOptions {
    fn from(timeouts: Timeouts) -> Self {
        let time = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(ms.into()));
        RequestOptions {
            connect_timeout: time(timeouts.connect),
            first_byte_timeout: time(timeouts.first_byte),
            between_bytes_timeout: time(timeouts.between_bytes),
        }
    }
}

type Pairs = Vec<(String, Vec<u8>)>;
type Asked = (
    Method,
    Option<String>,
    Option<Scheme>,
    Option<String>,
    Resource<Headers>,
);

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    add_fields(&mut types)?;
    add_outgoing(&mut types)?;
    add_incoming(&mut types)?;
    let mut handler = linker.instance("wasi:http/outgoing-handler@0.2.12")?;
    type Call = (Resource<OutgoingRequest>, Option<Timeouts>);
    handler.func_wrap(
        "handle-rc20231018",
        |mut store: StoreContextMut<'_, State>, (request, timeouts): Call| {
            let state = store.data_mut();
            let options = timeouts.map(RequestOptions::from);
            Ok((handle(state, request, options)?.map_err(Fault::from),))
        },
    )
}

fn add_fields(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[static]fields.new-rc20231018",
        |mut store: StoreContextMut<'_, State>, (pairs,): (Pairs,)| {
            let mut view = http_view(store.data_mut());
            Ok((or_trap(HostFields::from_list(&mut view, pairs))?,))
        },
    )?;
    type Set = (Resource<Headers>, String, Vec<Vec<u8>>);
    types.func_wrap(
        "[method]fields.set-rc20231018",
        |mut store: StoreContextMut<'_, State>, (fields, name, values): Set| {
            let mut view = http_view(store.data_mut());
            or_trap(HostFields::set(&mut view, fields, name, values))
        },
    )?;
    types.func_wrap(
        "[method]fields.delete-rc20231018",
        |mut store: StoreContextMut<'_, State>, (fields, name): (Resource<Headers>, String)| {
            let mut view = http_view(store.data_mut());
            or_trap(HostFields::delete(&mut view, fields, name))
        },
    )?;
    type Append = (Resource<Headers>, String, Vec<u8>);
    types.func_wrap(
        "[method]fields.append-rc20231018",
        |mut store: StoreContextMut<'_, State>, (fields, name, value): Append| {
            let mut view = http_view(store.data_mut());
            or_trap(HostFields::append(&mut view, fields, name, value))
        },
    )
}

/// These functions have no error, so that a guest that sets a header which is not its own to
/// set traps.
fn or_trap<T>(result: HeaderResult<T>) -> wasmtime::Result<T> {
    result.or_else(|error| {
        let error = error.downcast()?;
        wasmtime::bail!("the guest changes a header that it cannot change: {error:?}")
    })
}

/// Headers that are those of a message from now on.
fn headers(view: &WasiHttpCtxView<'_>, headers: &Resource<Headers>) -> wasmtime::Result<Headers> {
    let mut headers = view.table.get(headers)?.clone();
    headers.set_immutable();
    Ok(headers)
}

fn add_outgoing(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[static]outgoing-request.new-rc20231018",
        |mut store: StoreContextMut<'_, State>, asked: Asked| {
            let view = http_view(store.data_mut());
            let (method, path_with_query, scheme, authority, fields) = asked;
            // Whether it is a URL is found out when it is sent.
            let request = OutgoingRequest {
                headers: headers(&view, &fields)?,
                method,
                scheme,
                authority,
                path_with_query,
                body: None,
            };
            Ok((view.table.push(request)?,))
        },
    )?;
    types.func_wrap(
        "[static]outgoing-response.new-rc20231018",
        |mut store: StoreContextMut<'_, State>, (status, fields): (u16, Resource<Headers>)| {
            let view = http_view(store.data_mut());
            let Ok(code) = http::StatusCode::from_u16(status) else {
                wasmtime::bail!("the guest's answer has the status {status}");
            };
            let response = OutgoingResponse {
                status: code,
                headers: headers(&view, &fields)?,
                body: None,
            };
            Ok((view.table.push(response)?,))
        },
    )?;
    type Finished = (Resource<OutgoingBody>, Option<Resource<Trailers>>);
    types.func_wrap(
        "[static]outgoing-body.finish-rc20231018",
        |mut store: StoreContextMut<'_, State>, (body, trailers): Finished| {
            let mut view = http_view(store.data_mut());
            if let Err(error) = HostOutgoingBody::finish(&mut view, body, trailers) {
                // There is no result to tell it by; who reads the body sees that it is cut.
                error.downcast()?;
            }
            Ok(())
        },
    )?;
    type Answer = (
        Resource<ResponseOutparam>,
        Result<Resource<OutgoingResponse>, Fault>,
    );
    types.func_wrap(
        "[static]response-outparam.set-rc20231018",
        |mut store: StoreContextMut<'_, State>, (out, answer): Answer| {
            let mut view = http_view(store.data_mut());
            HostResponseOutparam::set(&mut view, out, answer.map_err(ErrorCode::from))
        },
    )
}

fn add_incoming(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    type Response = Option<Result<Result<Resource<IncomingResponse>, Fault>, ()>>;
    types.func_wrap(
        "[method]future-incoming-response.get-rc20231018",
        |mut store: StoreContextMut<'_, State>, (future,): (Resource<Awaited>,)| {
            let got = awaited::get(store.data_mut(), &future)?;
            let got: Response = got.map(|got| got.map(|got| got.map_err(Fault::from)));
            Ok((got,))
        },
    )?;
    types.func_wrap(
        "[method]future-trailers.get-rc20231018",
        |mut store: StoreContextMut<'_, State>, (future,): (Resource<FutureTrailers>,)| {
            let mut view = http_view(store.data_mut());
            let trailers = match trailers(&mut view, future)? {
                None => None,
                Some(Ok(Some(trailers))) => Some(Ok(trailers)),
                Some(Ok(None)) => Some(Ok(HostFields::new(&mut view)?)),
                Some(Err(code)) => Some(Err(Fault::from(code))),
            };
            Ok((trailers,))
        },
    )?;
    types.func_wrap(
        "[method]future-trailers.get-rc20231110",
        |mut store: StoreContextMut<'_, State>, (future,): (Resource<FutureTrailers>,)| {
            let mut view = http_view(store.data_mut());
            Ok((trailers(&mut view, future)?,))
        },
    )
}

type Got = Option<Result<Option<Resource<Trailers>>, ErrorCode>>;

/// The trailers of a body that has ended. Those that were taken before are an error, as the
/// candidates have no other way to say it.
fn trailers(
    view: &mut WasiHttpCtxView<'_>,
    future: Resource<FutureTrailers>,
) -> wasmtime::Result<Got> {
    let got = HostFutureTrailers::get(view, future)?;
    Ok(got.map(|got| {
        got.unwrap_or_else(|()| {
            let text = "the trailers were taken before".to_owned();
            Err(ErrorCode::InternalError(Some(text)))
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_code_has_its_case() {
        for (code, fault) in [
            (
                ErrorCode::HttpRequestDenied,
                Fault::Unexpected("the destination is not allowed".to_owned()),
            ),
            (
                ErrorCode::HttpRequestUriInvalid,
                Fault::InvalidUrl("ErrorCode::HttpRequestUriInvalid".to_owned()),
            ),
            (
                ErrorCode::ConnectionTimeout,
                Fault::Timeout("ErrorCode::ConnectionTimeout".to_owned()),
            ),
            (
                ErrorCode::HttpProtocolError,
                Fault::Protocol("ErrorCode::HttpProtocolError".to_owned()),
            ),
            (
                ErrorCode::ConnectionRefused,
                Fault::Unexpected("ErrorCode::ConnectionRefused".to_owned()),
            ),
        ] {
            assert_eq!(Fault::from(code), fault);
        }
    }
}
