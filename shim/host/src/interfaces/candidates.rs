//! What release candidates of WASI 0.2 have and the release has not, or has with another
//! type: functions that are added to the release's interfaces.
//!
//! `skiff-compose` gives the interfaces of a component built for a candidate the names of the
//! release, and functions with another type the names that they have here. A component built
//! for the release imports none of them.

mod files;
mod http;
mod io;
mod sockets;

use wasmtime::component::Linker;

pub(crate) use self::sockets::Exchanges;
use crate::state::State;

/// Adds the functions; the release's interfaces have been added before.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    io::add_to_linker(linker)?;
    files::add_to_linker(linker)?;
    sockets::add_to_linker(linker)?;
    http::add_to_linker(linker)
}
