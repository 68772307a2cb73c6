//! WASI except HTTP: `wasmtime-wasi`'s interfaces, what replaces some of them, and the
//! context that most of them use.

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView};

use super::{filesystem, random, sockets};
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
    sockets::add_to_linker(linker, concurrency)?;
    random::add_to_linker(linker)
}

/// The guest's WASI context: no listening, and no host environment. Names are looked up by
/// functions of our own; sockets may connect to addresses that were `found`.
pub(crate) fn context(grants: &Grants, found: &sockets::Found) -> WasiCtxBuilder {
    let mut builder = WasiCtx::builder();
    builder.allow_ip_name_lookup(false);
    grants.cli.open(&mut builder);
    grants.sockets.open(found, &mut builder);
    grants.filesystem.open(&grants.component, &mut builder);
    builder
}

/// An instance's WASI context. It costs a dozen allocations and two seeded generators, and
/// a guest that only answers never needs it, so it is created on first use.
#[derive(Default)]
pub(crate) struct Context {
    made: Option<WasiCtx>,
    /// Addresses of names that the guest has looked up.
    found: Option<sockets::Found>,
}

impl Context {
    /// One that is made already, with what was given to [`context`].
    pub(crate) fn of(made: WasiCtx, found: sockets::Found) -> Self {
        Context {
            made: Some(made),
            found: Some(found),
        }
    }

    /// Whether the guest has asked for its arguments, environment, files, time or random
    /// numbers.
    pub(crate) fn is_made(&self) -> bool {
        self.made.is_some()
    }

    pub(crate) fn renew(&mut self) {
        let Context { made, found } = self;
        *made = None;
        *found = None;
    }

    /// What was found, if the guest has looked for anything or has sockets.
    pub(crate) fn has_found(&self) -> Option<&sockets::Found> {
        self.found.as_ref()
    }

    pub(crate) fn found(&mut self) -> &sockets::Found {
        self.found.get_or_insert_default()
    }

    pub(crate) fn view<'a>(
        &'a mut self,
        grants: &Grants,
        table: &'a mut ResourceTable,
    ) -> WasiCtxView<'a> {
        WasiCtxView {
            ctx: self.made.get_or_insert_with(|| {
                let found = self.found.get_or_insert_default();
                context(grants, found).build()
            }),
            table,
        }
    }
}
