//! Builds what the suite and the bench need and prints where it lies, so that
//! the minutes this takes are a step of their own and not part of a test.

use std::process::ExitCode;

use skiff_test_support::tools::{self, ToolError, Version};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), ToolError> {
    for version in Version::ALL {
        println!(
            "containerd {}: {}",
            version.number(),
            tools::containerd(version)?.display()
        );
    }
    println!("pause: {}", tools::pause()?.display());
    Ok(())
}
