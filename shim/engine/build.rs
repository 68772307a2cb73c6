//! Passes the version of the linked wasmtime to the crate; wasmtime does not expose it.

use std::path::Path;

fn main() {
    // The lock file is the only place with the exact version.
    #[expect(clippy::disallowed_methods, reason = "cargo talks to build scripts so")]
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let lock = Path::new(&root).join("../../Cargo.lock");
    println!("cargo:rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(&lock).expect("the workspace has a lock file");
    let version = text
        .split("[[package]]")
        .find(|package| package.contains("\nname = \"wasmtime\"\n"))
        .and_then(|package| package.split("version = \"").nth(1))
        .and_then(|rest| rest.split('"').next())
        .expect("wasmtime is a dependency");
    println!("cargo:rustc-env=SKIFF_WASMTIME_VERSION={version}");
}
