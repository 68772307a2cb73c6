//! Spin applications: `spin.toml` (versions 1 and 2), the locked application JSON of
//! artifacts, and the runtime configuration, read into checked types.
//!
//! This crate reads no files, environment or network: it converts text to an
//! [`Application`] or a list of its [`Faults`], each with file, line and column.
//!
//! ```
//! let faults = skiff_manifest::toml::read("spin_manifest_version = 2\nnmae = 'x'", "spin.toml");
//! assert!(faults.unwrap_err().to_string().contains("spin.toml:2:1: manifest: `nmae` is not"));
//! ```

mod application;
mod capability;
mod check;
mod dependency_name;
mod fault;
mod fields;
pub mod hosts;
mod http;
pub mod lock;
mod middleware;
pub mod model;
mod names;
mod node;
pub mod runtime;
mod template;
pub mod toml;
mod trigger;

pub use application::RetainError;
pub use capability::Capability;
pub use fault::{Fault, Faults, Rest, escaped};
pub use model::*;
pub use names::{VariableName, VariableNameError};
pub use template::{Template, TemplateError, Unresolved};
