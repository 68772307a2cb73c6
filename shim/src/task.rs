//! The pod's life: what containerd calls, and what becomes of a container.
//!
//! Three processes take part, all the same file. The *shim* answers containerd's
//! calls, one for each pod. For a Wasm container it starts one that *prepares*:
//! finds the application, unpacks it, checks it, compiles it, and ends. Then the
//! container's own process comes to be, in its namespaces and with its limits,
//! and becomes the one that *serves*.

use std::process::ExitCode as ProcessCode;

use anyhow::Context;
use containerd_shimkit::sandbox::cli::{Version, shim_main};
use containerd_shimkit::zygote::Zygote;
use containerd_shimkit::{AmbientRuntime, Config};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::exit::ExitCode;

mod container;
mod executor;
mod handover;
mod instance;
mod mounts;
mod native;
mod plan;
mod prepare;
mod reaper;
mod report;
mod serve;

pub use serve::main as serve_main;

/// What the runtime is called in containerd's configuration.
pub const RUNTIME: &str = "io.containerd.skiff.v1";

/// The process that prepares an application: a request on stdin, an answer on
/// stdout. Only the shim starts it.
pub fn prepare_main() -> ProcessCode {
    prepare::main().into()
}

/// The shim. containerd calls it with `start`, `delete` or nothing; a person may
/// ask for its version.
///
/// # Panics
/// Where containerd's arguments cannot be read, as it then talks to something else.
pub fn main() -> ProcessCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.iter().any(|arg| arg == "-v" || arg == "--version" || arg == "-version") {
        print!("{}", version_text());
        return ExitCode::Success.into();
    }
    // One arena: a shim does little at a time, and each of a dozen threads
    // would otherwise keep memory of its own.
    #[cfg(target_env = "gnu")]
    // SAFETY: no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
    match containerd_shim::parse(&args) {
        Ok(flags) if flags.info => {}
        Ok(flags) if flags.action == "delete" => clean_up(&flags),
        Ok(flags) if flags.action == "start" => {}
        Ok(_) => {
            if let Err(error) = start_small_runtime() {
                eprintln!("{error:#}");
            }
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::Usage.into();
        }
    }
    let config = Config {
        default_log_level: "warn".to_owned(),
        ..Config::default()
    };
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        revision: revision(),
    };
    shim_main::<instance::Instance>(RUNTIME, version, Some(config));
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

/// Starts shimkit's runtime with a single worker, as it has as many as there are
/// CPUs to run on. The zygote has to come first, while there is one thread.
fn start_small_runtime() -> anyhow::Result<()> {
    Zygote::init();
    let all = sched_getaffinity(None).context("cannot read the CPU affinity")?;
    let mut first = CpuSet::new();
    if let Some(cpu) = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)) {
        first.set(cpu);
        sched_setaffinity(None, &first).context("cannot set the CPU affinity")?;
        async {}.block_on();
    }
    // The worker has inherited the one CPU and is set free as well.
    for thread in std::fs::read_dir("/proc/self/task").context("cannot list threads")? {
        let name = thread.context("cannot list threads")?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        let thread = id.and_then(rustix::process::Pid::from_raw);
        sched_setaffinity(thread, &all).context("cannot set the CPU affinity")?;
    }
    Ok(())
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_wasmtime() {
        let text = version_text();
        assert!(text.contains("Version: 0."), "{text}");
        assert!(text.contains("Wasmtime: 48."), "{text}");
    }
}
