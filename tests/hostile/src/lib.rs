//! The corpus of broken and hostile inputs, against the released program.
//!
//! For every input [`Verdict`] checks the same: the program ends, or serves, in time; its
//! exit code is one of `docs/failures.md`; its message is short and names the fault; it
//! takes no more memory than its limit; and it leaves nothing behind. A case only adds
//! its own checks.
//!
//! A new parser or interface adds its cases to a module of `tests/corpus`: `artifacts`,
//! `guests`, `requests` or `machines`. Cases that need a pod are in `tests/suite`,
//! modules `refusals`, `images` and `keeping`.

mod machine;
mod program;
mod server;

pub use machine::Machine;
pub use program::{Skiff, Verdict};
pub use server::{Answer, Server};

use std::path::PathBuf;

/// A guest that `make images` has built.
///
/// # Panics
///
/// If it is missing.
#[track_caller]
pub fn guest(name: &str) -> PathBuf {
    let path = skiff_test_support::paths::guest(name);
    assert!(
        path.exists(),
        "{} is missing: run `make images`",
        path.display()
    );
    path
}
