//! Shared by the tests on real machines: how they are called, and images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use skiff_installer::payload::Payload;
use skiff_test_support::guard::{self, Run};
use skiff_test_support::{oci, paths};

/// A test, by its name. It has no threads yet when it is called.
pub(crate) type Test = (&'static str, fn() -> anyhow::Result<()>);

/// The `main` of a program with one test: it is called as `cargo test` calls test
/// programs, and guards its own run.
pub(crate) fn main((name, test): Test) -> ExitCode {
    guard::run_if_asked();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        println!("{name}: test");
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    match test() {
        Ok(()) => {
            println!("test {name} ... ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("test {name} ... FAILED\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The image of an installer of that version, with this program.
pub(crate) fn payload(run: &Run, version: &str, program: &Path) -> anyhow::Result<Payload> {
    let folder = run.folder().join("payload").join(version);
    fs::create_dir_all(&folder)?;
    ensure!(
        program.exists(),
        "`{}` does not exist; run `make build` first",
        program.display()
    );
    fs::copy(program, folder.join("skiff"))?;
    fs::write(folder.join("version"), version)?;
    Ok(Payload::open(folder)?)
}

/// A guest as the hello of such an image.
pub(crate) fn hello(run: &Run, guest: &str) -> PathBuf {
    let folder = run.folder().join("hello").join(guest);
    if !folder.exists() {
        let path = paths::guest(guest);
        let wasm = fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; run `make images`", path.display()));
        oci::wasm_package(&wasm, &folder).expect("a layout");
    }
    folder
}
