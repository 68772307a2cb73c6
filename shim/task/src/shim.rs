//! The shim's own process: how containerd starts it, and how it ends.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{process, thread};

use anyhow::Context as _;
use chrono::Utc;
use containerd_shim::protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim::protos::protobuf::{Message, MessageField};
use containerd_shim::protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use containerd_shim::publisher::RemotePublisher;
use containerd_shim::util::write_address;
use containerd_shim::{Config, Error, ExitSignal, Flags, Result, StartOpts, api};
use containerd_shimkit::zygote::Zygote;
use oci_spec::runtime::Spec;

use crate::Program;
use crate::container;
use crate::exit::KILLED;
use crate::service::{Context, Service};

pub(crate) mod events;
mod features;
mod logging;
pub(crate) mod memory;
pub(crate) mod reaper;
mod socket;

use events::Events;

/// What the runtime is called in containerd's configuration.
pub const RUNTIME: &str = "io.containerd.skiff.v1";

/// The annotation by which containers of one pod find each other.
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";

/// How long sending the last answer may take once there is nothing more to do.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

/// Why the shim cannot do what it is called for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The flags are not those of containerd.
    #[error(transparent)]
    Flags(containerd_shim::Error),
    /// The answer has no reader.
    #[error("cannot write the answer")]
    Answer(#[source] io::Error),
}

/// Whether containerd calls the shim. That shows in the file's name or, as a shim starts
/// itself again under the file's real name, in containerd's first argument, which `skiff`
/// does not have.
pub fn is_called(mut args: impl Iterator<Item = OsString>) -> bool {
    let program = args.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default();
    let first = args.next().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b"containerd-shim-") || first == "-namespace"
}

/// The revision that this was built from.
pub fn revision() -> &'static str {
    containerd_shimkit::revision!().unwrap_or("unknown")
}

/// The shim. containerd calls it with `start`, `delete` or no subcommand; a person may
/// ask for its version. Call this from the main thread of a process without other
/// threads.
///
/// # Errors
/// If it is not called as containerd does, or its answer has no reader.
pub fn main(program: &'static Program) -> std::result::Result<(), Failure> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args
        .iter()
        .any(|arg| arg == "-v" || arg == "--version" || arg == "-version")
    {
        print!("{}", (program.version)());
        return Ok(());
    }
    memory::use_one_arena();
    let flags = containerd_shim::parse(&args).map_err(Failure::Flags)?;
    if flags.info {
        return print_info().map_err(Failure::Answer);
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
    run(&flags, program);
    Ok(())
}

/// containerd calls this if a shim ended without deleting its container, so nothing else
/// could end it.
fn clean_up(flags: &Flags) {
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

/// Global, because the library creates the shim by its type and does not pass this on.
static PROGRAM: OnceLock<&'static Program> = OnceLock::new();

/// Runs the subcommand that containerd calls.
fn run(flags: &Flags, program: &'static Program) {
    PROGRAM.get_or_init(|| program);
    if flags.action.is_empty() {
        let debug = flags.debug;
        logging::start(debug);
        // Containers are created in a separate process, which also logs.
        Zygote::global().run(logging::start, debug);
    }
    let config = Config {
        no_setup_logger: true,
        ..Config::default()
    };
    containerd_shim::run::<Shim>(RUNTIME, Some(config));
}

/// Answers containerd's query for the runtime's features, without running anything.
///
/// # Errors
/// If the answer has no reader.
fn print_info() -> io::Result<()> {
    let info = RuntimeInfo {
        name: RUNTIME.to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: revision().to_owned(),
            ..RuntimeVersion::default()
        }),
        features: MessageField::some(features::message()),
        ..RuntimeInfo::default()
    };
    let bytes = info.write_to_bytes().map_err(io::Error::other)?;
    io::stdout().write_all(&bytes)
}

struct Shim {
    namespace: String,
    containerd: String,
    program: &'static Program,
    exit: Arc<ExitSignal>,
}

impl containerd_shim::Shim for Shim {
    type T = Service;

    fn new(_: &str, flags: &Flags, _: &mut Config) -> Self {
        Self {
            namespace: flags.namespace.clone(),
            containerd: flags.address.clone(),
            program: PROGRAM.get().expect("it was set before the library ran"),
            exit: Arc::default(),
        }
    }

    /// Containers of one pod share a shim: later ones are directed to the first.
    fn start_shim(&mut self, options: StartOpts) -> Result<String> {
        let spec = Spec::load("config.json").map_err(|error| {
            Error::InvalidArgument(format!("cannot read `config.json`: {error}"))
        })?;
        let annotations = spec.annotations().as_ref();
        let pod = annotations.and_then(|all| all.get(SANDBOX)).cloned();
        let group = pod.unwrap_or_else(|| options.id.clone());
        // Inherited by the shim. On a node that is out of memory the shim may be killed
        // before containerd, which can clean up after it, and long before processes that
        // nothing cleans up after.
        if let Err(error) = containerd_shim::cgroup::adjust_oom_score(process::id()) {
            log::warn!("cannot set the shim's out-of-memory score: {error}");
        }
        let (_, address) = containerd_shim::spawn(options, &group, Vec::new())?;
        write_address(&address)?;
        Ok(address)
    }

    /// The container was cleaned up before this call.
    fn delete_shim(&mut self) -> Result<api::DeleteResponse> {
        let now = Utc::now();
        let exited_at = Timestamp {
            seconds: now.timestamp(),
            nanos: now.timestamp_subsec_nanos().cast_signed(),
            ..Timestamp::default()
        };
        Ok(api::DeleteResponse {
            exit_status: KILLED.into(),
            exited_at: Some(exited_at).into(),
            ..api::DeleteResponse::default()
        })
    }

    fn wait(&mut self) {
        self.exit.wait();
        // The server is stopped next, which sometimes waits forever for the thread of a
        // connection that is still open (seen with ttrpc 0.8).
        thread::spawn(|| {
            thread::sleep(STOPPED_WITHIN);
            process::exit(0);
        });
    }

    fn create_task_service(&self, publisher: RemotePublisher) -> Service {
        // Events are sent through our own publisher, which reconnects to a restarted
        // containerd.
        drop(publisher);
        let context = Context {
            namespace: self.namespace.clone(),
            containerd: self.containerd.clone(),
            events: Events::new(self.namespace.clone(), events_address()),
            program: self.program,
        };
        Service::new(context, Arc::clone(&self.exit))
    }
}

/// The address of containerd's event service, from the shim's environment.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn events_address() -> String {
    let address = std::env::var_os("TTRPC_ADDRESS");
    let address = address.map(|address| address.to_string_lossy().into_owned());
    address.unwrap_or_default()
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
}
