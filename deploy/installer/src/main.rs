//! The command line of the installer. Errors are printed only here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode as ProcessCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use skiff_installer::check::{CHECKED_WITHIN, Check};
use skiff_installer::cluster::Cluster;
use skiff_installer::daemon::{Daemon, Pod};
use skiff_installer::defaults::Defaults;
use skiff_installer::exit::{ExitCode, code_of};
use skiff_installer::host::Host;
use skiff_installer::install::{InstallError, Installer, Limits, Report};
use skiff_installer::node::RealNode;
use skiff_installer::payload::Payload;
use skiff_installer::retire::{RETIRED_WITHIN, retire};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(
    name = "skiff-installer",
    version,
    about = "Installs the shim on a node, and removes it"
)]
struct Arguments {
    /// Where the node's root is mounted
    #[arg(long, default_value = "/", value_name = "FOLDER")]
    host_root: PathBuf,
    /// The folder of the program and of the hello
    #[arg(long, default_value = "/payload", value_name = "FOLDER")]
    payload: PathBuf,
    /// The folder of the operator's defaults for applications, `defaults.toml` and what it
    /// refers to; without the file there are none
    #[arg(long, default_value = "/defaults", value_name = "FOLDER")]
    defaults: PathBuf,
    /// How many seconds systemd may take to restart containerd
    #[arg(long, default_value_t = Limits::default().restarted_within.as_secs(), value_name = "SECONDS")]
    restart_within: u64,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install this version on the node; does nothing if it is already installed
    Install {
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove everything from the node
    Uninstall {
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Run a hello through the runtime on this node
    Check,
    /// Roll new pods back to the previous version
    Rollback {
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Install, check, report to the cluster, and keep running; used by the DaemonSet
    Daemon {
        /// The name of this node in the cluster
        #[arg(long, env = "NODE_NAME", value_name = "NAME")]
        node_name: String,
        /// The name of this pod, for the commands that messages suggest
        #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "POD")]
        pod_name: String,
        /// The namespace of this pod, for the same commands
        #[arg(
            long,
            env = "POD_NAMESPACE",
            value_name = "NAME",
            default_value = "NAMESPACE"
        )]
        pod_namespace: String,
        /// The address for the kubelet's probes
        #[arg(long, default_value = "[::]:8089", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// The file of the container's termination message
        #[arg(long, default_value = "/dev/termination-log", value_name = "FILE")]
        termination_message: PathBuf,
    },
    /// Remove Skiff from all nodes of the cluster; run before the chart is deleted
    Retire {
        /// Even if pods still use the runtime
        #[arg(long)]
        force: bool,
        /// How many seconds all nodes may take
        #[arg(long, default_value_t = RETIRED_WITHIN.as_secs(), value_name = "SECONDS")]
        within: u64,
    },
}

fn main() -> ProcessCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Success
            };
            // If the terminal is gone, nothing can be reported.
            error.print().ok();
            return code.into();
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::Success.into(),
        Err(error) => {
            eprintln!("skiff-installer: {error:#}");
            code_of(&error).into()
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let host = Host::new(arguments.host_root);
    let node = RealNode::new(runtime.handle().clone());
    let limits = Limits {
        restarted_within: Duration::from_secs(arguments.restart_within),
        ..Limits::default()
    };
    let installer = Installer::new(&host, &node, limits);
    let payload = || -> anyhow::Result<Payload> {
        let defaults = Defaults::read(&arguments.defaults)?;
        Ok(Payload::open(arguments.payload.clone())?.with_defaults(defaults))
    };
    match arguments.command {
        Verb::Install { dry_run } => {
            let payload = payload()?;
            tell(installer.install(&payload, dry_run), dry_run)
        }
        Verb::Uninstall { dry_run } => tell(installer.uninstall(dry_run), dry_run),
        Verb::Rollback { dry_run } => tell(installer.rollback(dry_run), dry_run),
        Verb::Check => {
            let (socket, handler) = installer.running()?;
            let check = Check {
                socket,
                hello: payload()?.hello(),
                shim: handler.path,
                within: CHECKED_WITHIN,
            };
            runtime.block_on(check.run(&host))?;
            println!("an application ran on this node");
            Ok(())
        }
        Verb::Daemon {
            node_name,
            pod_name,
            pod_namespace,
            listen,
            termination_message,
        } => {
            let daemon = Daemon {
                payload: payload()?,
                host: host.clone(),
                node_name,
                pod: Pod {
                    name: pod_name,
                    namespace: pod_namespace,
                },
                listen,
                termination_message,
                limits,
                over: AtomicBool::default(),
            };
            until_stopped(&runtime, async { Ok(daemon.run().await.map(drop)?) })
        }
        Verb::Retire { force, within } => until_stopped(&runtime, async {
            let cluster = Cluster::find().await?;
            let within = Duration::from_secs(within);
            for node in retire(&cluster, force, within).await? {
                let name = node.name;
                match node.keeps {
                    true => println!("{name} keeps what its pods still need"),
                    false => println!("Skiff is removed from {name}"),
                }
            }
            Ok(())
        }),
    }
}

/// Prints what was done, or would be done.
fn tell(report: Result<Report, InstallError>, dry_run: bool) -> anyhow::Result<()> {
    let report = report?;
    print!("{report}");
    if report.is_empty() {
        println!(
            "nothing {} done",
            if dry_run { "would be" } else { "was to be" }
        );
    }
    Ok(())
}

/// Runs until it ends, or until a signal of the kubelet or a user. What is installed
/// stays: an upgrade of the installer must not remove the runtime from a node.
fn until_stopped(
    runtime: &Runtime,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot take signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot take signals")?;
        tokio::select! {
            done = work => done,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_the_readme_is_understood() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let readme = std::fs::read_to_string(readme).expect("the README");
        let (_, rest) = readme.split_once("`./skiff-installer ").expect("a command");
        let (words, _) = rest.split_once('`').expect("its end");
        let words = words.split_whitespace();
        let arguments = Arguments::try_parse_from(["skiff-installer"].into_iter().chain(words));
        let arguments = arguments.unwrap_or_else(|error| panic!("{error}"));
        assert!(
            matches!(arguments.command, Verb::Install { dry_run: true }),
            "the README must change nothing"
        );
    }
}
