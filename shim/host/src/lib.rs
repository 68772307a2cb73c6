//! The interfaces that guests call, what each grant allows, and how a guest is
//! called: WASI 0.2 and 0.3 over HTTP, and commands.
//!
//! What is absent: this crate knows no routes, no containerd, no artifacts, and
//! does not read the environment: settings are values.

mod command;
mod files;
mod grants;
mod held;
mod http;
mod imports;
mod interfaces;
mod kind;
mod meter;
mod output;
mod preview1;
mod settings;
mod state;

pub use command::{Command, CommandError};
pub use files::FileLimits;
pub use grants::{Grants, Mount};
pub use http::{BodyFault, Cut, Guest, GuestBody, GuestError, HttpGuest, Payload, Reuse};
pub use imports::{LoadError, Loader};
pub use interfaces::{Missing, Need, Sockets, Variables, VariablesError, need, needs_concurrency};
pub use kind::{ComponentKind, ImportError, Wanted, kind};
pub use output::Output;
pub use settings::Settings;
