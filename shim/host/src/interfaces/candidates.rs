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

use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime::component::types::ComponentItem;

pub(crate) use self::sockets::Exchanges;
use crate::state::State;

/// Whether an import has such functions.
pub(crate) fn are_in(import: &ComponentItem, engine: &Engine) -> bool {
    let ComponentItem::ComponentInstance(interface) = import else {
        return false;
    };
    let mut names = interface.exports(engine).map(|(name, _)| name);
    names.any(|name| name.contains("-rc2023"))
}

/// Adds the functions; the release's interfaces have been added before.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    io::add_to_linker(linker)?;
    files::add_to_linker(linker)?;
    sockets::add_to_linker(linker)?;
    http::add_to_linker(linker)
}
