//! Guests of public toolchains, run by Skiff and by wasmtime's command of the same
//! version on the same input: every byte of output, the exit code, and every header and
//! body must be the same.
//!
//! `foreign` runs all cases and `foreign NAME` those whose names contain the word; its
//! other options are those of `cargo test -- --help`. Toolchains and guests are installed
//! and built when the first case needs them, and kept below `target/foreign`.

mod build;
mod cases;
mod command;
mod process;
mod reference;
mod serve;
mod toolchains;
mod workshop;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use crate::workshop::Workshop;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let workshop = match Workshop::of_this_checkout() {
        Ok(workshop) => workshop,
        Err(failed) => {
            eprintln!("{}", process::chain(&failed));
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&arguments, cases::all(workshop)).exit_code()
}
