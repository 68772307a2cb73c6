//! The suite with the current containerd series.

use std::process::ExitCode;

use skiff_test_support::Version;

fn main() -> ExitCode {
    skiff_suite::run(Version::V2, env!("CARGO_BIN_EXE_suite-native"))
}
