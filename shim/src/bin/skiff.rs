//! One file under two names: how it is called tells what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    if skiff::task::is_called(std::env::args_os()) {
        skiff::task::main()
    } else {
        skiff::cli::main()
    }
}
