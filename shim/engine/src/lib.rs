//! The one wasmtime configuration, and everything that follows from it: compiling, the
//! cache of compiled code and whom it trusts, the clock that interrupts computing guests,
//! and how many instances run at once.
//!
//! This crate does not know where a component came from, what its imports mean, or that
//! HTTP exists.

mod budget;
mod cache;
mod clock;
mod code;
mod config;
#[cfg(any(target_arch = "riscv64", test))]
mod copies;
mod engines;
mod limits;
mod memory;
mod rewind;
mod seal;
mod turns;

pub use budget::Budget;
pub use cache::{Cache, CacheError};
pub use clock::{Clock, Guest, Ticks};
pub use code::{CodeKey, Native, NotPortable, Portable, Resources};
pub use config::{CompileError, Compiler, EngineError, Pool, Runner, Tier, version};
pub use engines::{EngineKind, Engines, Place};
pub use limits::{Busy, Limits, Permit, Permits, Shares};
pub use memory::{Account, MemoryError, MemoryLimit};
pub use rewind::{Beginning, Rewinds};
pub use turns::{guest_runs, turn};

/// Loaded code, as linkers accept it.
#[derive(Clone)]
pub enum Code {
    /// A component.
    Component(Component),
    /// A core module: a preview 1 command.
    Module(Module),
}

pub use wasmtime::Module;
pub use wasmtime::component::Component;
