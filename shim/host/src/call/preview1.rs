//! Preview 1, for commands that are core modules: `wasmtime-wasi`'s implementation, except
//! for opening files.

use std::sync::Arc;

use skiff_engine::Guest;
use wasmtime::{Linker, ResourceLimiter};
use wasmtime_wasi::p1::{self, WasiP1Ctx};

use crate::interfaces::filesystem;
use crate::meter::Meter;
use crate::{Grants, Output};

/// What a store holds for a preview 1 module.
pub(crate) struct Preview1 {
    wasi: WasiP1Ctx,
    meter: Meter,
    printed: Option<Output>,
}

impl Preview1 {
    /// `printed` is memory that it prints to, and that counts as its own.
    pub(crate) fn new(grants: &Arc<Grants>, wasi: WasiP1Ctx, printed: Option<Output>) -> Self {
        Preview1 {
            wasi,
            meter: Meter::new(grants),
            printed,
        }
    }

    pub(crate) fn meter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.meter
    }

    pub(crate) fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }

    /// Whether it is one of many, and the descriptors that guests may use are all in use.
    pub(crate) fn has_no_room_for_files(&self) -> bool {
        self.printed.is_some() && self.meter.grants().filesystem.limits.are_reached()
    }

    pub(crate) fn add_to_linker(linker: &mut Linker<Preview1>) -> wasmtime::Result<()> {
        p1::add_to_linker_async(linker, Preview1::wasi)?;
        wasmtime_wasi::p0::add_to_linker_async(linker, Preview1::wasi)?;
        filesystem::p1::add_to_linker(linker)
    }
}

impl Guest for Preview1 {
    fn ticked(&mut self) -> wasmtime::Result<()> {
        // Besides, the host only holds the module's open files.
        let printed = self.printed.as_ref().map_or(0, Output::size);
        Ok(self.meter.check(printed)?)
    }
}
