//! WebAssembly binaries in, one self-contained component out.
//!
//! An application may ship a core module from before components existed, or a component
//! that leaves some of its imports to other components. This crate turns both into what
//! the engine compiles:
//!
//! - [`kind`] and [`is_precompiled`] only read the first bytes.
//! - [`componentize`] makes a core module into a component.
//! - [`compose`] does that for a component and its dependencies, and composes them. A
//!   preview 1 command without dependencies stays a core module.
//! - [`settle`] gives interfaces of release candidates, and their functions, the names that the
//!   host has for them.
//!
//! There is no I/O and no engine here, and the same input bytes always give the same
//! output.

mod boundary;
mod candidates;
mod componentize;
mod compose;
mod exit;
mod interfaces;
mod isolate;
mod kind;
mod legacy;
mod lend;
mod module;

pub use boundary::{Boundary, BoundaryError, boundary};
pub use candidates::settle;
pub use componentize::{ComponentizeError, componentize};
pub use compose::{ComposeError, Dependency, Inherit, compose};
pub use isolate::{Capabilities, Capability, IsolateError};
pub use kind::{WasmKind, is_precompiled, kind};

/// Increased with every change that alters the output for the same input, so that callers
/// can tell when kept results are outdated.
pub const GENERATION: u32 = 4;

/// The cause of an error in the tools below, whose own types do not help a caller.
type Cause = Box<dyn std::error::Error + Send + Sync>;
