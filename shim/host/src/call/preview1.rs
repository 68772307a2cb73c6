//! Preview 1, for commands that are core modules: `wasmtime-wasi`'s implementation, except
//! for opening files.

use std::sync::Arc;

use skiff_engine::Guest;
use wasmtime::{Linker, ResourceLimiter};
use wasmtime_wasi::p1::{self, WasiP1Ctx};

use crate::Grants;
use crate::interfaces::sockets::Found;
use crate::interfaces::{filesystem, wasi};
use crate::meter::Meter;

/// What a store holds for a preview 1 module.
pub(crate) struct Preview1 {
    wasi: WasiP1Ctx,
    meter: Meter,
}

impl Preview1 {
    pub(crate) fn new(grants: &Arc<Grants>) -> Self {
        Preview1 {
            wasi: wasi::context(grants, &Found::default()).build_p1(),
            meter: Meter::new(grants),
        }
    }

    pub(crate) fn meter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.meter
    }

    pub(crate) fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }

    pub(crate) fn add_to_linker(linker: &mut Linker<Preview1>) -> wasmtime::Result<()> {
        p1::add_to_linker_async(linker, Preview1::wasi)?;
        wasmtime_wasi::p0::add_to_linker_async(linker, Preview1::wasi)?;
        filesystem::p1::add_to_linker(linker)
    }
}

impl Guest for Preview1 {
    fn ticked(&mut self) -> wasmtime::Result<()> {
        // The host only holds the module's open files.
        Ok(self.meter.check(0)?)
    }
}
