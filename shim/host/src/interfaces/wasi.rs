//! WASI except HTTP: `wasmtime-wasi`'s interfaces, what replaces some of them, and the
//! context that most of them use.

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView};

use super::{filesystem, random};
use crate::Grants;
use crate::state::State;

/// Adds both versions; the newer one only if the engine supports concurrent calls.
pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // Streams are replaced to use the table only: the default would create a WASI context
    // for every guest that writes a response.
    linker.allow_shadowing(true);
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    linker.allow_shadowing(false);
    if concurrency {
        wasmtime_wasi::p3::add_to_linker(linker)?;
    }
    filesystem::add_to_linker(linker, concurrency)?;
    random::add_to_linker(linker)
}

/// The guest's WASI context: no name look-up, no listening, no host environment.
pub(crate) fn context(grants: &Grants) -> WasiCtxBuilder {
    let mut builder = WasiCtx::builder();
    builder.allow_ip_name_lookup(false);
    grants.cli.open(&mut builder);
    grants.sockets.open(&mut builder);
    grants.filesystem.open(&grants.component, &mut builder);
    builder
}

/// An instance's WASI context. It costs a dozen allocations and two seeded generators, and
/// a guest that only answers never needs it, so it is created on first use.
#[derive(Default)]
pub(crate) struct Context(Option<WasiCtx>);

impl Context {
    /// One that is made already.
    pub(crate) fn of(context: WasiCtx) -> Self {
        Context(Some(context))
    }

    /// Whether the guest has asked for its arguments, environment, files, time or random
    /// numbers.
    pub(crate) fn is_made(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn renew(&mut self) {
        let Context(made) = self;
        *made = None;
    }

    pub(crate) fn view<'a>(
        &'a mut self,
        grants: &Grants,
        table: &'a mut ResourceTable,
    ) -> WasiCtxView<'a> {
        WasiCtxView {
            ctx: self.0.get_or_insert_with(|| context(grants).build()),
            table,
        }
    }
}
