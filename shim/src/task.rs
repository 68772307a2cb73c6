//! The pod's life: what containerd calls, and what becomes of a container.
//!
//! Three processes take part, all the same file. The *shim* answers containerd's
//! calls, one for each pod. For a Wasm container it starts one that *prepares*:
//! finds the application, unpacks it, checks it, compiles it, and ends. Then the
//! container's own process comes to be, in its namespaces and with its limits,
//! and becomes the one that *serves*.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode as ProcessCode;

use anyhow::Context;

use crate::exit::ExitCode;

mod attributes;
mod cgroup;
mod container;
mod decide;
mod devices;
mod events;
mod executor;
mod features;
mod handover;
mod inside;
mod instance;
mod limits;
mod logging;
mod memory;
mod mounts;
mod native;
mod oom;
mod options;
mod plan;
mod prepare;
mod privileges;
mod reaper;
mod report;
mod serve;
mod service;
mod shim;
mod socket;
mod spec;
mod working_folder;

pub use serve::main as serve_main;

/// What the runtime is called in containerd's configuration.
pub const RUNTIME: &str = "io.containerd.skiff.v1";

/// Whether containerd calls us. The file is known by its name, or, as a shim
/// starts itself again under whatever name the file really has, by containerd's
/// first argument, which is none of `skiff`.
pub fn is_called(mut args: impl Iterator<Item = OsString>) -> bool {
    let program = args.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default();
    let first = args.next().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b"containerd-shim-") || first == "-namespace"
}

/// The process that prepares an application: a request on stdin, an answer on
/// stdout. Only the shim starts it.
pub fn prepare_main() -> ProcessCode {
    prepare::main().into()
}

/// The shim. containerd calls it with `start`, `delete` or nothing; a person may
/// ask for its version.
pub fn main() -> ProcessCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args
        .iter()
        .any(|arg| arg == "-v" || arg == "--version" || arg == "-version")
    {
        print!("{}", version_text());
        return ExitCode::Success.into();
    }
    memory::use_one_arena();
    let flags = match containerd_shim::parse(&args) {
        Ok(flags) => flags,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::Usage.into();
        }
    };
    if flags.info {
        return match shim::print_info() {
            Ok(()) => ExitCode::Success.into(),
            Err(_) => ExitCode::Internal.into(),
        };
    }
    match flags.action.as_str() {
        "start" => {}
        "delete" => clean_up(&flags),
        _ => {
            socket::remove_at_exit();
            if let Err(error) = memory::start_small_runtime() {
                eprintln!("{error:#}");
            }
        }
    }
    shim::run(&flags);
    ExitCode::Success.into()
}

/// Version, revision and wasmtime, as `--version` of both names prints them.
pub fn version_text() -> String {
    format!(
        "{RUNTIME}\n  Version: {}\n  Revision: {}\n  Wasmtime: {}\n",
        env!("CARGO_PKG_VERSION"),
        revision(),
        skiff_engine::version(),
    )
}

fn revision() -> &'static str {
    containerd_shimkit::revision!().unwrap_or("unknown")
}

/// containerd asks for this when a shim is gone without having deleted its
/// container, so there is nobody else who could end it.
fn clean_up(flags: &containerd_shim::Flags) {
    let bundle = match flags.bundle.as_str() {
        "" => std::env::current_dir(),
        bundle => Ok(bundle.into()),
    };
    let cleaned = bundle
        .context("cannot find the bundle")
        .and_then(|bundle| container::clean_up(&bundle, &flags.id));
    if let Err(error) = cleaned {
        eprintln!("cannot clean up after container {}: {error:#}", flags.id);
    }
    socket::remove_left_behind(flags);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerds_calls_are_told_from_a_persons() {
        let called = |args: &[&str]| is_called(args.iter().map(OsString::from));
        assert!(called(&["/usr/bin/containerd-shim-skiff-v1", "--version"]));
        assert!(called(&["/opt/skiff/skiff", "-namespace", "k8s.io"]));
        assert!(!called(&["/usr/bin/skiff", "run"]));
        assert!(!called(&["skiff"]));
        assert!(!called(&[]));
    }

    #[test]
    fn the_version_names_wasmtime() {
        let text = version_text();
        assert!(text.contains("Version: 0."), "{text}");
        assert!(text.contains("Wasmtime: 48."), "{text}");
    }
}
