//! `wasi:http`: messages, and outbound requests to what `allowed_outbound_hosts` allows.

pub(crate) mod awaited;
mod calls;
mod client;
mod mark;
mod origin;
mod outbound;
mod spin;
pub(crate) mod spin_types;

use std::sync::{Arc, LazyLock};

use http::HeaderName;
use http::header;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi_http::{
    Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks,
};

pub(super) use self::calls::handle;
pub use self::client::{
    HttpAnswer, HttpBody, HttpCall, HttpClient, HttpError, Neighbours, Timeouts,
};
pub use self::mark::Mark;
pub(crate) use self::origin::{Origin, Origins};
pub use self::outbound::{Outbound, Ways};
use crate::state::State;
use crate::{Grants, held};

/// Adds both versions; the newer one only if the engine supports concurrent calls.
pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    if concurrency {
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    linker.allow_shadowing(true);
    calls::add_p2(linker)?;
    if concurrency {
        calls::add_p3(linker)?;
    }
    linker.allow_shadowing(false);
    spin::add_to_linker(linker)
}

/// An instance's state for this interface, besides its handles.
pub(crate) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
    /// The requests that a WASI 0.3 instance answers.
    pub(crate) origins: Origins,
}

impl Http {
    pub(crate) fn new(grants: &Grants) -> Self {
        Http {
            context: WasiHttpCtx::new(),
            hooks: Hooks::new(grants),
            origins: Origins::default(),
        }
    }

    pub(crate) fn renew(&mut self) {
        let Http {
            context,
            hooks,
            origins,
        } = self;
        *context = WasiHttpCtx::new();
        hooks.origin = None;
        origins.clear();
    }

    pub(crate) fn outbound(&self) -> &Outbound {
        &self.hooks.outbound
    }

    /// The request that the guest answers.
    fn origin(&self) -> Origin {
        self.hooks.origin.clone().unwrap_or_default()
    }

    /// The request that the guest answers from now on.
    pub(crate) fn answers(&mut self, origin: Option<Origin>) {
        self.hooks.origin = origin;
    }

    /// Sends a request of the guest. As [`Outbound::send`].
    fn send(
        &self,
        request: http::Request<HttpBody>,
        options: Option<RequestOptions>,
    ) -> Result<HttpAnswer, HttpError> {
        self.hooks.send(request, options)
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
    outbound: Outbound,
    /// The request that the guest answers, if it may send others.
    origin: Option<Origin>,
}

impl Hooks {
    pub(crate) fn new(grants: &Grants) -> Self {
        Hooks {
            outbound: grants.outbound.clone(),
            origin: None,
        }
    }

    fn send(
        &self,
        request: http::Request<HttpBody>,
        options: Option<RequestOptions>,
    ) -> Result<HttpAnswer, HttpError> {
        match &self.origin {
            Some(origin) => self.outbound.send(origin, request, options),
            None => self.outbound.send(&Origin::default(), request, options),
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
    /// The client sets it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_forbidden(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::clone(&FORBIDDEN)
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        held::BODY_CHUNK
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let answer = self.send(request, options);
        Box::new(async move {
            let response = answer?.await?;
            // Whatever is left to do is done by who reads the body.
            let rest: Box<dyn Future<Output = _> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, rest))
        })
    }
}
