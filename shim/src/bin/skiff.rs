//! One file under two names: the name it is called by selects what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    if skiff::pod::is_called(std::env::args_os()) {
        skiff::pod::main()
    } else {
        skiff::cli::main()
    }
}
