//! What a store holds for one instance.

use std::sync::{Arc, LazyLock};

use http::HeaderName;
use http::header;
use skiff_engine::{Guest, Ticks};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks, WasiHttpView,
};
use wasmtime_wasi_io::IoView;

use crate::interfaces::seed;
use crate::meter::Meter;
use crate::{Grants, held};

/// State of one instance. The WASI context costs a dozen allocations and two
/// seeded generators, and a guest that only answers never asks for it, so it is
/// made on first use.
pub(crate) struct State {
    meter: Meter,
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    hooks: Hooks,
    pub(crate) table: ResourceTable,
    /// Whether it was said that it opens too many files.
    told_of_files: bool,
    /// Handles that guests have left behind, which wasmtime goes on counting.
    left: usize,
    /// What it has as the seed of its tables.
    seed: Option<(u64, u64)>,
    /// For how many more ticks it is not looked at what the host holds for it.
    unseen: usize,
}

impl State {
    fn new(grants: &Arc<Grants>) -> Self {
        State {
            meter: Meter::new(grants),
            wasi: None,
            http: WasiHttpCtx::new(),
            hooks: Hooks::new(grants),
            table: new_table(),
            told_of_files: false,
            left: 0,
            seed: None,
            unseen: 0,
        }
    }

    /// A store for one instance, with its limits.
    pub(crate) fn store(engine: &Engine, grants: &Arc<Grants>, ticks: &Ticks) -> Store<State> {
        let mut store = Store::new(engine, State::new(grants));
        store.limiter(|state| &mut state.meter);
        if let Some(table) = store.concurrent_resource_table() {
            table.set_max_capacity(held::MOST_HANDLES);
        }
        ticks.interrupt(&mut store);
        store
    }

    pub(crate) fn grants(&self) -> &Grants {
        self.meter.grants()
    }

    /// Whether the guest has asked for its arguments, environment, files, time or random
    /// numbers.
    pub(crate) fn has_looked_around(&self) -> bool {
        self.wasi.is_some() || self.seed.is_some()
    }

    /// Whether as many handles were left behind as another guest should not find there.
    pub(crate) fn is_littered(&self) -> bool {
        self.left > held::MOST_LEFT
    }

    /// The seed of the guest's tables, another one for each request.
    pub(crate) fn seed(&mut self) -> std::io::Result<(u64, u64)> {
        match self.seed {
            Some(seed) => Ok(seed),
            None => Ok(*self.seed.insert(seed::new()?)),
        }
    }

    /// How many handles it has.
    pub(crate) fn handles(&mut self) -> usize {
        self.table.iter_mut().count()
    }

    /// What a new instance has, but for its memory.
    pub(crate) fn renew(&mut self) {
        let handles = self.handles();
        // By name, so that what is added to it is thought of here.
        let State {
            meter,
            wasi,
            http,
            hooks: _,
            table,
            told_of_files,
            left,
            seed,
            unseen,
        } = self;
        meter.holds_nothing();
        *left += handles;
        *wasi = None;
        *http = WasiHttpCtx::new();
        *table = new_table();
        *told_of_files = false;
        *seed = None;
        *unseen = 0;
    }

    /// Says so once, however often the guest tries again.
    pub(crate) fn has_too_many_files(&mut self) {
        if !std::mem::replace(&mut self.told_of_files, true) {
            tracing::warn!(component_id = %self.grants().component, "The guest has as many files open as it may; it is told that there is no room");
        }
    }
}

fn new_table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(held::MOST_HANDLES);
    table
}

impl Guest for State {
    fn ticked(&mut self) -> wasmtime::Result<()> {
        if let Some(unseen) = self.unseen.checked_sub(1) {
            self.unseen = unseen;
            self.meter.check_pod()?;
            return Ok(());
        }
        let (mut handles, mut held) = (0, 0);
        for entry in self.table.iter_mut() {
            handles += 1;
            held += held::size(entry);
        }
        // A look at many takes its time, and making many more takes longer.
        self.unseen = handles / held::HANDLES_A_TICK;
        self.meter.check(held)?;
        Ok(())
    }
}

/// The guest's WASI context, as the contract has it: no name look-up, no
/// listening, no host environment. A folder that has vanished since the
/// application was checked is left out and logged.
pub(crate) fn wasi(grants: &Grants) -> WasiCtxBuilder {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(grants.stdout.clone())
        .stderr(grants.stderr.clone())
        .allow_ip_name_lookup(false)
        // The application's own files are in the page cache.
        .allow_blocking_current_thread(!grants.waits)
        .args(&grants.arguments)
        .envs(&grants.environment);
    if grants.stdin {
        builder.inherit_stdin();
    }
    grants.sockets.open(&mut builder);
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
    builder
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: self
                .wasi
                .get_or_insert_with(|| wasi(self.meter.grants()).build()),
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

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        held::BODY_CHUNK
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
