//! WebAssembly binaries in, one self-contained component out.
//!
//! What an application ships may be a core module from before components, or a
//! component that leaves some of its imports to other components. This crate turns
//! both into what the engine compiles:
//!
//! - [`kind`] and [`is_precompiled`] look at the first bytes only.
//! - [`componentize`] makes a core module into a component.
//! - [`compose`] does that for a component and its dependencies and joins them. A
//!   command of preview 1 that has none stays the core module that it is.
//! - [`settle`] gives interfaces of release candidates the names of their releases.
//!
//! There is no I/O here and no engine: bytes go in, bytes come out, and the same
//! bytes in give the same bytes out.

mod boundary;
mod candidates;
mod componentize;
mod compose;
mod exit;
mod interfaces;
mod isolate;
mod kind;
mod lend;
mod module;

pub use boundary::{Boundary, BoundaryError, boundary};
pub use candidates::settle;
pub use componentize::{ComponentizeError, componentize};
pub use compose::{ComposeError, Dependency, Inherit, compose};
pub use isolate::{Capabilities, Capability, IsolateError};
pub use kind::{WasmKind, is_precompiled, kind};

/// Changes with every change by which the same bytes in give other bytes out, so
/// that whoever keeps what came out can tell.
pub const GENERATION: u32 = 3;

/// The cause of an error of the tools beneath, whose own types say nothing to a caller.
type Cause = Box<dyn std::error::Error + Send + Sync>;
