//! Preview 1, for commands that are core modules: as `wasmtime-wasi` offers it, but for how
//! files are opened.

use std::sync::Arc;

use skiff_engine::Guest;
use wasmtime::{Linker, ResourceLimiter};
use wasmtime_wasi::p1::{self, WasiP1Ctx};

use crate::Grants;
use crate::interfaces::{filesystem, wasi};
use crate::meter::Meter;

/// What a store holds for a module of preview 1.
pub(crate) struct Preview1 {
    wasi: WasiP1Ctx,
    meter: Meter,
}

impl Preview1 {
    pub(crate) fn new(grants: &Arc<Grants>) -> Self {
        Preview1 {
            wasi: wasi::context(grants).build_p1(),
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
        // What the host holds for it are the files that it has open.
        Ok(self.meter.check(0)?)
    }
}
