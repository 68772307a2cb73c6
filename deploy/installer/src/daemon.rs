//! What the DaemonSet runs on each node: it installs, checks, tells the cluster,
//! and stays until it is told to give everything back.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::check::{CHECKED_WITHIN, Check, CheckError};
use crate::cluster::{Cluster, ClusterError};
use crate::health::{Probes, Readiness};
use crate::host::Host;
use crate::install::{InstallError, Installer, Limits, Report};
use crate::node::RealNode;
use crate::payload::Payload;
use crate::upgrade::{self, Outcome};

/// Between attempts at what may go away by itself: long enough that a log is not
/// filled, short enough that nobody waits for a node.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// Between attempts of one check.
const PAUSE: Duration = Duration::from_secs(5);

/// Between looks at a node on which all is well. It takes a fraction of a second.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// The name of the event on a node whose new version is not in use.
const EVENT: &str = "SkiffNotReady";

/// Why the daemon does not run at all.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The address for probes cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The cluster does not know this node, or does not answer.
    #[error("the cluster cannot be told about this node")]
    Cluster(#[from] ClusterError),
    /// Everything was to be given back, and was not.
    #[error("not everything was given back")]
    Install(#[from] InstallError),
}

/// One node's daemon.
#[derive(Debug)]
pub struct Daemon {
    /// The node's files.
    pub host: Host,
    /// What the image brings.
    pub payload: Payload,
    /// The node's name in the cluster.
    pub node_name: String,
    /// Where probes are answered.
    pub listen: SocketAddr,
    /// Where the kubelet looks for a container's last words.
    pub termination_message: PathBuf,
    /// How long is waited for containerd.
    pub limits: Limits,
}

impl Daemon {
    /// Runs until it is dropped. Everything that goes wrong on the node is told to
    /// the cluster and does not end it.
    ///
    /// # Errors
    ///
    /// Where it cannot be asked whether it is ready, or the cluster does not know it.
    pub async fn run(self) -> Result<Infallible, DaemonError> {
        let address = self.listen;
        let listen = |source| DaemonError::Listen { address, source };
        let probes = Probes::bind(address).await.map_err(listen)?;
        let readiness = Readiness::not_yet("the node is being prepared");
        let cluster = Cluster::find().await?;
        let node = cluster.node(&self.node_name).await?;
        let work = Arc::new(self);
        tokio::select! {
            never = probes.serve(readiness.clone()) => match never {},
            ended = work.work(&cluster, &readiness, node.to_uninstall) => ended,
        }
    }

    async fn work(
        self: &Arc<Self>,
        cluster: &Cluster,
        readiness: &Readiness,
        told: bool,
    ) -> Result<Infallible, DaemonError> {
        if !told {
            tokio::select! {
                never = self.serve(cluster, readiness) => match never {},
                () = self.until_told(cluster) => {}
            }
        }
        tracing::info!("Giving everything back");
        readiness.set(Err("everything is given back".to_owned()));
        self.give_back(cluster).await?;
        // The pod is deleted soon. A new one would install everything again.
        Ok(std::future::pending().await)
    }

    /// Keeps the node as it should be.
    async fn serve(self: &Arc<Self>, cluster: &Cluster, readiness: &Readiness) -> Infallible {
        let mut told = String::new();
        loop {
            let daemon = Arc::clone(self);
            let outcome = blocking(move |handle| daemon.bring_up(handle)).await;
            let (version, reason) = match &outcome {
                Outcome::Ready => (Some(self.payload.version()), None),
                Outcome::Kept { version, reason } => (Some(version.as_str()), Some(reason)),
                Outcome::Failed(reason) => (None, Some(reason)),
            };
            self.label(cluster, version).await;
            let Some(reason) = reason else {
                tracing::info!(version, "Ready");
                return self.keep(readiness, true).await;
            };
            let text = chain(reason);
            tracing::error!(in_use = version, "{text}");
            readiness.set(Err(text.clone()));
            if text != told {
                self.tell(cluster, &text).await;
                told = text;
            }
            if !reason.may_pass() || version.is_some() {
                return self.keep(readiness, false).await;
            }
            sleep(TRY_AGAIN).await;
        }
    }

    fn bring_up(&self, handle: &Handle) -> Outcome {
        let node = RealNode::new(handle.clone());
        let installer = Installer::new(&self.host, &node, self.limits);
        let hello = |shim: Option<&std::path::Path>| {
            let (socket, _) = installer.running().map_err(|error| CheckError::Refused {
                what: "find containerd",
                message: chain(&error),
            })?;
            let check = Check {
                socket,
                hello: self.payload.hello(),
                shim: shim.map(Into::into),
                within: CHECKED_WITHIN,
            };
            handle.block_on(check.run(&self.host))
        };
        upgrade::bring_up(&installer, &self.payload, &hello, PAUSE)
    }

    /// Takes versions away when the last pod on them has ended, and, where this
    /// version is the one in use, puts back what somebody has taken away: some
    /// distributions write containerd's configuration anew whenever they like.
    async fn keep(self: &Arc<Self>, readiness: &Readiness, in_use: bool) -> Infallible {
        if in_use {
            readiness.set(Ok(()));
        }
        loop {
            sleep(LOOK_AGAIN).await;
            let daemon = Arc::clone(self);
            let kept = blocking(move |handle| {
                let node = RealNode::new(handle.clone());
                let installer = Installer::new(&daemon.host, &node, daemon.limits);
                match in_use {
                    true => installer.install(&daemon.payload, false),
                    false => installer.tidy(),
                }
            });
            let state = match kept.await {
                Ok(report) => {
                    log(&report);
                    Ok(())
                }
                Err(error) => {
                    let text = chain(&error);
                    tracing::warn!("{text}");
                    Err(text)
                }
            };
            if in_use {
                readiness.set(state);
            }
        }
    }

    async fn until_told(&self, cluster: &Cluster) {
        while let Err(error) = cluster.told_to_uninstall(&self.node_name).await {
            tracing::warn!("{}", chain(&error));
            sleep(TRY_AGAIN).await;
        }
    }

    /// Uninstalls, and only then says so.
    async fn give_back(self: &Arc<Self>, cluster: &Cluster) -> Result<(), DaemonError> {
        let report: Report = loop {
            let daemon = Arc::clone(self);
            let done = blocking(move |handle| {
                let node = RealNode::new(handle.clone());
                Installer::new(&daemon.host, &node, daemon.limits).uninstall(false)
            });
            match done.await {
                Ok(report) => break report,
                // An installation that was under way when the word came.
                Err(InstallError::Busy) => sleep(Duration::from_secs(1)).await,
                Err(error) => {
                    self.tell(cluster, &chain(&error)).await;
                    return Err(error.into());
                }
            }
        };
        log(&report);
        Ok(cluster.unlabel(&self.node_name).await?)
    }

    /// Labels do not hold anything up: they are set when the API answers again.
    async fn label(&self, cluster: &Cluster, version: Option<&str>) {
        loop {
            let labelled = match version {
                Some(version) => cluster.label(&self.node_name, version).await,
                None => cluster.unlabel(&self.node_name).await,
            };
            let Err(error) = labelled else {
                return;
            };
            tracing::warn!("{}", chain(&error));
            sleep(PAUSE).await;
        }
    }

    /// Tells why the node is not ready wherever somebody may look.
    async fn tell(&self, cluster: &Cluster, reason: &str) {
        if let Err(error) = std::fs::write(&self.termination_message, reason) {
            tracing::warn!(%error, "Cannot write the termination message");
        }
        if let Err(error) = cluster.tell(&self.node_name, EVENT, reason).await {
            tracing::warn!("{}", chain(&error));
        }
    }
}

fn log(report: &Report) {
    for step in report.to_string().lines() {
        tracing::info!(step, "Done");
    }
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce(&Handle) -> T + Send + 'static) -> T {
    let handle = Handle::current();
    match tokio::task::spawn_blocking(move || work(&handle)).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is shut down cancels it, and then nobody waits.
            Err(_) => std::future::pending().await,
        },
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let own = error.to_string();
        // Transparent errors repeat what they wrap.
        if !text.ends_with(&own) {
            text = format!("{text}: {own}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostError;

    #[test]
    fn a_chain_is_told_in_one_line() {
        let inner = HostError {
            what: "write",
            path: "/opt".into(),
            source: std::io::ErrorKind::ReadOnlyFilesystem.into(),
        };
        assert_eq!(
            chain(&InstallError::from(inner)),
            "the node's files were left as they are: cannot write `/opt` on the node: \
             read-only filesystem or storage medium"
        );
    }
}
