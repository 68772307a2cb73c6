//! The interfaces that guests import: what is offered, and what is only known by name
//! and denies, since nothing grants it. A family of interfaces has a file or a folder.

mod denied;
mod missing;
pub(crate) mod seed;
mod sockets;
mod variables;

pub use denied::{Need, need};
pub use missing::Missing;
pub use sockets::Sockets;
pub use variables::{Variables, VariablesError};

pub(crate) use denied::{deny, is_denied};

use wasmtime::component::Linker;

use crate::state::State;

/// `name@version` apart; the version is empty where there is none.
pub(crate) fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// A release candidate of WASI that the contract lists, and that is not offered.
fn is_candidate(name: &str) -> bool {
    let (name, version) = split(name);
    name.starts_with("wasi:") && matches!(version, "0.2.0-rc-2023-10-18" | "0.2.0-rc-2023-11-10")
}

/// Whether an import is of an interface we have. Functions within it are
/// checked by the linker.
fn is_offered(import: &str) -> bool {
    if variables::INTERFACES.contains(&import) {
        return true;
    }
    let (name, version) = split(import);
    let Some((package, _)) = name.split_once('/') else {
        return false;
    };
    let wasi = matches!(
        package,
        "wasi:cli"
            | "wasi:clocks"
            | "wasi:filesystem"
            | "wasi:http"
            | "wasi:io"
            | "wasi:random"
            | "wasi:sockets"
    );
    wasi && !version.contains('-')
        && (version.starts_with("0.2.") || version.starts_with("0.3."))
        && name != "wasi:clocks/timezone"
}

/// Adds what is offered.
pub(crate) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // Streams again, by way of the table alone: what is in place now would make a
    // WASI context for every guest that writes an answer.
    linker.allow_shadowing(true);
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    linker.allow_shadowing(false);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    if concurrency {
        wasmtime_wasi::p3::add_to_linker(linker)?;
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    crate::files::add_to_linker(linker, concurrency)?;
    seed::add_to_linker(linker)?;
    variables::add_to_linker(linker, concurrency)
}

/// Whether a component with these imports and exports needs an engine that can
/// call concurrently: it speaks WASI 0.3, or an interface that has asynchronous
/// functions.
pub fn needs_concurrency<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| {
        let (name, version) = split(name);
        match name {
            "spin:key-value/key-value"
            | "spin:mqtt/mqtt"
            | "spin:mysql/mysql"
            | "spin:redis/inbound-redis"
            | "spin:redis/redis"
            | "spin:variables/variables" => true,
            // Asynchronous functions came to these later.
            "spin:postgres/postgres" => {
                !version.starts_with("3.") && !matches!(version, "4.0.0" | "4.1.0")
            }
            "spin:sqlite/sqlite" => !version.starts_with("3.0."),
            _ => version.starts_with("0.3.") && name.starts_with("wasi:"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_asynchronous_functions_needs_a_concurrent_engine() {
        for (name, needed) in [
            ("wasi:http/types@0.2.6", false),
            ("wasi:http/types@0.3.0", true),
            ("fermyon:spin/key-value@2.0.0", false),
            ("spin:variables/variables@3.0.0", true),
            ("spin:postgres/postgres@3.0.0", false),
            ("spin:postgres/postgres@4.0.0", false),
            ("spin:postgres/postgres@4.2.0", true),
            ("spin:sqlite/sqlite@3.0.0", false),
            ("spin:sqlite/sqlite@3.1.0", true),
        ] {
            assert_eq!(needs_concurrency([name].into_iter()), needed, "{name}");
        }
    }

    #[test]
    fn release_candidates_are_known_and_not_offered() {
        assert!(!is_offered("wasi:http/types@0.2.0-rc-2023-10-18"));
        assert!(is_candidate("wasi:http/types@0.2.0-rc-2023-10-18"));
        assert!(is_offered("wasi:http/types@0.2.17"));
        assert!(!is_offered("wasi:nn/graph@0.2.0"));
    }
}
