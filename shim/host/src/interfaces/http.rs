//! `wasi:http`: messages, and outbound requests, which are not granted yet.

use std::sync::{Arc, LazyLock};

use http::HeaderName;
use http::header;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi_http::{
    Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks,
};

use crate::state::State;
use crate::{Grants, held};

/// Adds both versions; the newer one only if the engine supports concurrent calls.
pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    if concurrency {
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    Ok(())
}

/// An instance's state for this interface, besides its handles.
pub(crate) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

impl Http {
    pub(crate) fn new(grants: &Grants) -> Self {
        Http {
            context: WasiHttpCtx::new(),
            hooks: Hooks::new(grants),
        }
    }

    pub(crate) fn renew(&mut self) {
        let Http { context, hooks: _ } = self;
        *context = WasiHttpCtx::new();
    }

    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView {
            ctx: &mut self.context,
            table,
            hooks: &mut self.hooks,
        }
    }
}

/// Decides on headers and outbound requests.
pub(crate) struct Hooks {
    component: Arc<str>,
}

impl Hooks {
    pub(crate) fn new(grants: &Grants) -> Self {
        Hooks {
            component: Arc::clone(&grants.component),
        }
    }
}

/// Header names that a guest may neither see nor set.
pub(crate) fn is_forbidden(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::HOST
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "http2-settings"
        )
}

static FORBIDDEN: LazyLock<ForbiddenHeaderFilter> = LazyLock::new(|| Arc::new(is_forbidden));

type Sent = wasmtime_wasi_http::Result<(
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
)>;

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_forbidden(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::clone(&FORBIDDEN)
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        held::BODY_CHUNK
    }

    /// Outbound HTTP is not granted yet: components that ask for it in their manifest do
    /// not start, and calls of all others are denied here.
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        tracing::warn!(component_id = %self.component, uri = %request.uri(), "Outbound request denied: nothing grants it, and this version of Skiff has no outbound HTTP");
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}
