//! The shim's own process: how containerd starts it, and how it ends.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use std::{process, thread};

use chrono::Utc;
use containerd_shim::protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim::protos::protobuf::{Message, MessageField};
use containerd_shim::protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use containerd_shim::publisher::RemotePublisher;
use containerd_shim::util::write_address;
use containerd_shim::{Config, Error, ExitSignal, Flags, Result, StartOpts, api};
use containerd_shimkit::zygote::Zygote;
use oci_spec::runtime::Spec;

use super::events::Events;
use super::service::Service;
use super::{RUNTIME, features, logging, revision};
use crate::exit::ExitCode;
use crate::settings::environment;

/// The annotation by which containers of one pod find each other.
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";

/// How long the last answer may take to get out once there is nothing more to do.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

/// Does what containerd calls for.
pub(super) fn run(flags: &Flags) {
    if flags.action.is_empty() {
        let debug = flags.debug;
        logging::start(debug);
        // Containers are made by a process of their own, which logs as well.
        Zygote::global().run(logging::start, debug);
    }
    let config = Config {
        no_setup_logger: true,
        ..Config::default()
    };
    containerd_shim::run::<Shim>(RUNTIME, Some(config));
}

/// What containerd asks of a runtime without running anything.
///
/// # Errors
/// Where nobody listens.
pub(super) fn print_info() -> io::Result<()> {
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
    exit: Arc<ExitSignal>,
}

impl containerd_shim::Shim for Shim {
    type T = Service;

    fn new(_: &str, flags: &Flags, _: &mut Config) -> Self {
        Self {
            namespace: flags.namespace.clone(),
            containerd: flags.address.clone(),
            exit: Arc::default(),
        }
    }

    /// Containers of one pod share a shim: who comes later is sent to it.
    fn start_shim(&mut self, options: StartOpts) -> Result<String> {
        let spec = Spec::load("config.json").map_err(|error| {
            Error::InvalidArgument(format!("cannot read `config.json`: {error}"))
        })?;
        let annotations = spec.annotations().as_ref();
        let pod = annotations.and_then(|all| all.get(SANDBOX)).cloned();
        let group = pod.unwrap_or_else(|| options.id.clone());
        // The shim inherits it. On a node that is out of memory it may go before
        // containerd, which can clean up after it, and long before nothing can.
        if let Err(error) = containerd_shim::cgroup::adjust_oom_score(process::id()) {
            log::warn!("cannot set the shim's score for the killer of processes: {error}");
        }
        let (_, address) = containerd_shim::spawn(options, &group, Vec::new())?;
        write_address(&address)?;
        Ok(address)
    }

    /// The container was cleaned up before this is asked for.
    fn delete_shim(&mut self) -> Result<api::DeleteResponse> {
        let now = Utc::now();
        let exited_at = Timestamp {
            seconds: now.timestamp(),
            nanos: now.timestamp_subsec_nanos().cast_signed(),
            ..Timestamp::default()
        };
        Ok(api::DeleteResponse {
            exit_status: ExitCode::Killed.number().cast_unsigned(),
            exited_at: Some(exited_at).into(),
            ..api::DeleteResponse::default()
        })
    }

    fn wait(&mut self) {
        self.exit.wait();
        // The server is stopped next, which now and then waits without an end for the
        // thread of a connection that is still open (seen with ttrpc 0.8).
        thread::spawn(|| {
            thread::sleep(STOPPED_WITHIN);
            process::exit(ExitCode::Success.number());
        });
    }

    fn create_task_service(&self, publisher: RemotePublisher) -> Service {
        // Events are sent through one that finds a restarted containerd again.
        drop(publisher);
        let address = environment("TTRPC_ADDRESS").unwrap_or_default();
        let events = Events::new(self.namespace.clone(), address);
        let exit = Arc::clone(&self.exit);
        Service::new(
            self.namespace.clone(),
            self.containerd.clone(),
            events,
            exit,
        )
    }
}
