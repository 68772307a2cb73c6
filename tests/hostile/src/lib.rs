//! The corpus of what is broken or hostile, against the program that people run.
//!
//! Whatever goes in, the same must hold, and [`Verdict`] holds every case to it: the
//! program ends, or serves, in time; its exit code is one of `docs/failures.md`; what it
//! says is short and names the thing; it takes no more memory than its limit; and it
//! leaves nothing behind. A case only adds what is special about it.
//!
//! A new parser or interface adds its cases to the module of `tests/corpus` they belong to:
//! `artifacts`, `guests`, `requests` or `machines`. What only a pod can show is in
//! `tests/suite`, modules `refusals`, `images` and `keeping`.

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
/// If it is not there.
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
