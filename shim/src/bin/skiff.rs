//! One file under two names: what it is called tells what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&called).file_name();
    let shim = name.is_some_and(|name| name.to_string_lossy().starts_with("containerd-shim-"));
    if shim {
        skiff::task::main()
    } else {
        skiff::cli::main()
    }
}
