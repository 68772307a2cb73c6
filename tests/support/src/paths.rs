//! Where the build puts things, derived from the path of the running program.
//!
//! Nothing is read from the environment: a test program is itself in the target folder,
//! so its folder is always known.

use std::path::{Path, PathBuf};

/// The folder of the profile in use, for example `target/<triple>/debug`.
///
/// # Panics
///
/// If the running program was moved out of the target folder.
pub fn profile_dir() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let holder = program.parent().expect("a program lies in a folder");
    match holder.file_name() {
        // Test and bench programs lie one folder deeper than plain ones.
        Some(name) if name == "deps" => holder.parent().expect("deps lies in a profile").into(),
        _ => holder.into(),
    }
}

/// The target folder itself, which is independent of profile and triple: builds here are
/// always for a named triple, so it is two folders above the profile.
///
/// # Panics
///
/// If the running program was moved out of the target folder.
pub fn target_dir() -> PathBuf {
    let profile = profile_dir();
    let target = profile.ancestors().nth(2).map(Path::to_owned);
    target.expect("the program runs from a target folder")
}

/// The shim and command-line program of the profile in use. It is one file under two
/// names; the caller has to check that it was built.
pub fn skiff() -> PathBuf {
    profile_dir().join("skiff")
}

/// A guest of `tests/guests`, by its name without the extension.
pub fn guest(name: &str) -> PathBuf {
    target_dir().join("guests").join(format!("{name}.wasm"))
}

/// The built folder of a sample application of `images/`.
pub fn sample(name: &str) -> PathBuf {
    target_dir().join("images").join(name)
}
