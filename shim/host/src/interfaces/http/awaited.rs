//! `future-incoming-response`: a response that a guest of WASI 0.2 waits for. It is polled by
//! the guest, without a task of its own.

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{Pollable, subscribe};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, HostFutureIncomingResponse};
use wasmtime_wasi_http::p2::body::HostIncomingBody;
use wasmtime_wasi_http::p2::types::{self, HostIncomingResponse};
use wasmtime_wasi_http::{FieldMap, WasiHttpCtxView};

use super::client::{HttpAnswer, HttpBody, HttpError};
use crate::state::{State, http_view};

/// What the handle is for. If it is dropped, the request is abandoned.
pub(crate) enum Awaited {
    Pending(HttpAnswer),
    Ready(Result<http::Response<HttpBody>, HttpError>),
    Taken,
}

impl Awaited {
    pub(super) fn new(answer: HttpAnswer) -> Self {
        Awaited::Pending(answer)
    }
}

#[async_trait]
impl Pollable for Awaited {
    async fn ready(&mut self) {
        if let Awaited::Pending(answer) = self {
            *self = Awaited::Ready(answer.await);
        }
    }
}

/// The response, once it is there; an inner error if it was taken before.
pub(in crate::interfaces) type Got =
    Option<Result<Result<Resource<HostIncomingResponse>, ErrorCode>, ()>>;

pub(in crate::interfaces) fn get(
    state: &mut State,
    awaited: &Resource<Awaited>,
) -> wasmtime::Result<Got> {
    let mut view = http_view(state);
    let awaited = view.table.get_mut(awaited)?;
    let answered = match std::mem::replace(awaited, Awaited::Taken) {
        Awaited::Ready(answered) => answered,
        Awaited::Taken => return Ok(Some(Err(()))),
        pending @ Awaited::Pending(_) => {
            *awaited = pending;
            return Ok(None);
        }
    };
    Ok(Some(Ok(match answered {
        Ok(response) => {
            let (head, body) = response.into_parts();
            Ok(view.table.push(HostIncomingResponse {
                status: head.status.as_u16(),
                headers: FieldMap::new_immutable(view.hooks, head.headers),
                body: Some(HostIncomingBody::new(body)),
            })?)
        }
        Err(error) => Err(code(&mut view, error)?),
    })))
}

/// The code of an error, which only `wasmtime-wasi-http`'s own `get` can tell.
pub(super) fn code(
    view: &mut WasiHttpCtxView<'_>,
    error: HttpError,
) -> wasmtime::Result<ErrorCode> {
    let failed = types::HostFutureIncomingResponse::Ready(Err(error));
    let failed = view.table.push(failed)?;
    let got = view.get(Resource::new_borrow(failed.rep()))?;
    view.table.delete(failed)?;
    match got {
        Some(Ok(Err(code))) => Ok(code),
        _ => wasmtime::bail!("an error has no code"),
    }
}

/// Replaces the resource and its functions.
pub(super) fn add_to_linker(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.resource(
        "future-incoming-response",
        ResourceType::host::<Awaited>(),
        |mut store, rep| {
            let awaited = Resource::<Awaited>::new_own(rep);
            store.data_mut().table.delete(awaited)?;
            Ok(())
        },
    )?;
    types.func_wrap(
        "[method]future-incoming-response.subscribe",
        |mut store: StoreContextMut<'_, State>, (awaited,): (Resource<Awaited>,)| {
            Ok((subscribe(&mut store.data_mut().table, awaited)?,))
        },
    )?;
    types.func_wrap(
        "[method]future-incoming-response.get",
        |mut store: StoreContextMut<'_, State>, (awaited,): (Resource<Awaited>,)| {
            Ok((get(store.data_mut(), &awaited)?,))
        },
    )
}
