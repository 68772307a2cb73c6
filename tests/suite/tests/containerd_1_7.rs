//! The suite with the oldest containerd series that the shim supports.

use std::process::ExitCode;

use skiff_test_support::Version;

fn main() -> ExitCode {
    skiff_suite::run(Version::V1_7, env!("CARGO_BIN_EXE_suite-native"))
}
