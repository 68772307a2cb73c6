//! The toolchains of the package registries, and the guests of each.
//!
//! Every one compiles the same program, or the same server, in its own language: see
//! `tests/foreign/guests/README.md`.

mod candidates;
mod javascript;
mod native;
mod python;

use std::path::PathBuf;

use crate::build::BuildError;
use crate::workshop::Workshop;

/// A toolchain, with the pinned packages that it needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Toolchain {
    /// Go's own compiler for `wasip1`.
    Go,
    /// Rust's own targets, and the SDKs on crates.io.
    Rust,
    /// Zig, for its own language and for C on wasi-libc.
    Zig,
    /// AssemblyScript with its WASI shim.
    AssemblyScript,
    /// componentize-js through jco.
    JavaScript,
    /// Spin's SDK for JavaScript, with the componentize-js that it wants.
    JavaScriptSpin,
    /// componentize-py with a release of Spin's SDK, or alone.
    Python(python::Sdk),
    /// componentize-py of the time of WASI's release candidates.
    Candidate(candidates::Candidate),
    /// Zig's C, on the bindings in Spin's SDK 2 for Go, which TinyGo compiles.
    SpinGo,
}

/// One file that a toolchain builds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    /// The file's name, without its extension.
    pub(crate) name: &'static str,
    pub(crate) toolchain: Toolchain,
}

/// The command program of every toolchain, always the same.
pub(crate) const PROGRAMS: [Guest; 8] = [
    guest("go", Toolchain::Go),
    guest("rust-wasip1", Toolchain::Rust),
    guest("rust-wasip2", Toolchain::Rust),
    guest("c", Toolchain::Zig),
    guest("zig", Toolchain::Zig),
    guest("assemblyscript", Toolchain::AssemblyScript),
    guest("javascript", Toolchain::JavaScript),
    guest("python", Toolchain::Python(python::Sdk::None)),
];

/// The server of every toolchain, always the same.
pub(crate) const SERVERS: [Guest; 13] = [
    guest("spin-go-2", Toolchain::SpinGo),
    guest("spin-2", Toolchain::Rust),
    guest("spin-3", Toolchain::Rust),
    guest("spin-5", Toolchain::Rust),
    guest("spin-7", Toolchain::Rust),
    guest("wstd", Toolchain::Rust),
    guest("wasip3", Toolchain::Rust),
    guest("javascript-http", Toolchain::JavaScript),
    guest(
        "python-2023-10-18",
        Toolchain::Candidate(candidates::Candidate::First),
    ),
    guest(
        "python-2023-11-10",
        Toolchain::Candidate(candidates::Candidate::Second),
    ),
    guest("python-spin-3", Toolchain::Python(python::Sdk::Spin3)),
    guest("python-spin-4", Toolchain::Python(python::Sdk::Spin4)),
    guest("python-spin-5", Toolchain::Python(python::Sdk::Spin5)),
];

/// What an application is asked for.
const STATE: &[&str] = &["key-value", "sqlite", "variables", "fetch", "denied"];

/// The same of a toolchain that knows only WASI.
const REQUESTS: &[&str] = &["fetch", "denied"];

/// The application of every SDK, and what it is asked for. Python's SDK 3 has a module for
/// SQLite that cannot be imported.
pub(crate) const APPLICATIONS: [(Guest, &[&str]); 10] = [
    (guest("spin-3-state", Toolchain::Rust), STATE),
    (guest("spin-5-state", Toolchain::Rust), STATE),
    (guest("spin-7-state", Toolchain::Rust), STATE),
    (guest("wstd", Toolchain::Rust), REQUESTS),
    (guest("wasip3", Toolchain::Rust), REQUESTS),
    (guest("javascript-http", Toolchain::JavaScript), REQUESTS),
    (guest("javascript-spin", Toolchain::JavaScriptSpin), STATE),
    (
        guest("python-spin-3", Toolchain::Python(python::Sdk::Spin3)),
        &["key-value", "variables", "fetch", "denied"],
    ),
    (
        guest("python-spin-4", Toolchain::Python(python::Sdk::Spin4)),
        STATE,
    ),
    (
        guest("python-spin-5", Toolchain::Python(python::Sdk::Spin5)),
        STATE,
    ),
];

const fn guest(name: &'static str, toolchain: Toolchain) -> Guest {
    Guest { name, toolchain }
}

impl Toolchain {
    /// Builds all its guests, unless that was done before, and returns their folder.
    pub(crate) fn build(self, workshop: &Workshop) -> Result<PathBuf, BuildError> {
        match self {
            Toolchain::Go => native::go(workshop),
            Toolchain::Rust => native::rust(workshop),
            Toolchain::Zig => native::zig(workshop),
            Toolchain::AssemblyScript => javascript::assemblyscript(workshop),
            Toolchain::JavaScript => javascript::componentize(workshop),
            Toolchain::JavaScriptSpin => javascript::spin(workshop),
            Toolchain::Python(sdk) => python::componentize(workshop, sdk),
            Toolchain::Candidate(candidate) => candidates::componentize(workshop, candidate),
            Toolchain::SpinGo => native::spin_go(workshop),
        }
    }
}
