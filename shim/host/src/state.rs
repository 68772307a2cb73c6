//! What a store holds for one instance.

use std::sync::{Arc, LazyLock};

use http::HeaderName;
use http::header;
use skiff_engine::{MemoryLimit, Ticks};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks, WasiHttpView,
};
use wasmtime_wasi_io::IoView;

use crate::Grants;

/// State of one instance. The WASI context costs a dozen allocations and two
/// seeded generators, and a guest that only answers never asks for it, so it is
/// made on first use.
pub(crate) struct State {
    grants: Arc<Grants>,
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
    pub(crate) memory: MemoryLimit,
}

impl State {
    fn new(grants: &Arc<Grants>) -> Self {
        State {
            grants: Arc::clone(grants),
            wasi: None,
            http: WasiHttpCtx::new(),
            hooks: Hooks::new(grants),
            table: ResourceTable::new(),
            memory: MemoryLimit(grants.memory),
        }
    }

    /// A store for one instance, with its limits.
    pub(crate) fn store(engine: &Engine, grants: &Arc<Grants>, ticks: &Ticks) -> Store<State> {
        let mut store = Store::new(engine, State::new(grants));
        store.limiter(|state| &mut state.memory);
        ticks.interrupt(&mut store);
        store
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }
}

/// The guest's WASI context, as the contract has it: no name look-up, no
/// listening, no host environment. A folder that has vanished since the
/// application was checked is left out and logged.
fn wasi(grants: &Grants) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(grants.stdout.clone())
        .stderr(grants.stderr.clone())
        // Sockets are closed until a grant opens them.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        // A worker has one thread, and files are in the page cache.
        .allow_blocking_current_thread(true)
        .args(&grants.arguments)
        .envs(&grants.environment);
    if grants.stdin {
        builder.inherit_stdin();
    }
    for mount in &grants.mounts {
        let permissions = if mount.writable {
            FsPerms::ReadWrite
        } else {
            FsPerms::ReadOnly
        };
        if let Err(error) = builder.preopened_dir(&mount.host, &mount.guest, permissions) {
            tracing::error!(component_id = %grants.component, path = %mount.host.display(), %error, "A folder of the guest cannot be opened");
        }
    }
    builder.build()
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| wasi(&self.grants)),
            table: &mut self.table,
        }
    }
}

impl IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        http_view(self)
    }
}

pub(crate) fn http_view(state: &mut State) -> WasiHttpCtxView<'_> {
    WasiHttpCtxView {
        ctx: &mut state.http,
        table: &mut state.table,
        hooks: &mut state.hooks,
    }
}

/// Decides about headers and outbound requests.
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

/// Names that a guest may neither see nor set (contract 4.8).
fn forbidden(name: &HeaderName) -> bool {
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

static FORBIDDEN: LazyLock<ForbiddenHeaderFilter> = LazyLock::new(|| Arc::new(forbidden));

type Sent = wasmtime_wasi_http::Result<(
    http::Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
)>;

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        forbidden(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::clone(&FORBIDDEN)
    }

    /// Outbound HTTP is granted to nobody yet: components that ask for it in
    /// their manifest do not start, and all others are denied here.
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
