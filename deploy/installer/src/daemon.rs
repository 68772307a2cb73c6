//! What the DaemonSet runs on each node: it installs, checks, reports to the cluster, and
//! stays until it is asked to remove Skiff.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::check::{CHECKED_WITHIN, Check, CheckError};
use crate::cluster::{Cluster, ClusterError, LONGEST_MESSAGE, Labelled};
use crate::give_back::{GiveBackError, Uninstalled, give_back, uninstall};
use crate::health::{Probes, Readiness};
use crate::host::Host;
use crate::install::{InstallError, Installer, Limits, Report};
use crate::node::RealNode;
use crate::payload::Payload;
use crate::upgrade::{self, Outcome, Reason};

/// The pause before the second attempt after a transient failure. It doubles with each
/// attempt, up to the pause between looks at a healthy node: long enough not to fill a
/// log, short enough not to delay a node.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// The pause between attempts of one check, or of an uninstall that pods hold up.
const PAUSE: Duration = Duration::from_secs(5);

/// The pause between looks at a healthy node. A look takes a fraction of a second.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// The name of the event on a node whose new version is not in use.
const EVENT: &str = "SkiffNotReady";

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The address for probes cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The cluster does not know this node, or does not answer.
    #[error("cannot report this node to the cluster")]
    Cluster(#[from] ClusterError),
    /// Skiff could not be removed from the node.
    #[error("Skiff is not removed from the node")]
    Install(#[from] InstallError),
}

impl From<GiveBackError> for DaemonError {
    fn from(error: GiveBackError) -> Self {
        match error {
            GiveBackError::Install(error) => error.into(),
            GiveBackError::Cluster(error) => error.into(),
        }
    }
}

/// The daemon's pod, as `kubectl` names it.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// One node's daemon.
#[derive(Debug)]
pub struct Daemon {
    /// The node's files.
    pub host: Host,
    /// The content of the image.
    pub payload: Payload,
    /// The node's name in the cluster.
    pub node_name: String,
    /// The pod in which it runs.
    pub pod: Pod,
    /// Where probes are answered.
    pub listen: SocketAddr,
    /// The container's termination message file.
    pub termination_message: PathBuf,
    /// How long to wait for containerd.
    pub limits: Limits,
    /// Set when Skiff is to be removed. Nothing is installed from then on.
    pub over: AtomicBool,
}

impl Daemon {
    /// Runs until it is dropped. A failure on the node is reported to the cluster and
    /// does not end it.
    ///
    /// # Errors
    ///
    /// If its probes cannot be served, or the cluster does not know the node.
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
            ended = work.work(&cluster, &readiness, node) => ended,
        }
    }

    async fn work(
        self: &Arc<Self>,
        cluster: &Cluster,
        readiness: &Readiness,
        node: Labelled,
    ) -> Result<Infallible, DaemonError> {
        if !node.to_uninstall {
            tokio::select! {
                never = self.serve(cluster, readiness, &node) => match never {},
                () = self.until_told(cluster) => {}
            }
        }
        tracing::info!("Removing Skiff from the node");
        self.over.store(true, Ordering::SeqCst);
        readiness.set(Err("Skiff is removed from the node".to_owned()));
        self.give_back(cluster).await?;
        // The pod will be deleted soon. A new one would install everything again.
        Ok(std::future::pending().await)
    }

    /// Maintains the installation.
    async fn serve(
        self: &Arc<Self>,
        cluster: &Cluster,
        readiness: &Readiness,
        node: &Labelled,
    ) -> Infallible {
        let mut told = String::new();
        let mut pause = TRY_AGAIN;
        if !node.has_version || node.keeps {
            // From now on an uninstall of the whole cluster finds this node by its label.
            let version = self.payload.version();
            self.label(cluster, Some((version, false))).await;
        }
        loop {
            let daemon = Arc::clone(self);
            let (outcome, is_clear) = blocking(move |handle| daemon.bring_up(handle)).await;
            let tried = self.payload.version();
            self.label(cluster, outcome.labels(tried, is_clear)).await;
            let (version, reason) = match &outcome {
                Outcome::Ready => {
                    tracing::info!(version = tried, "Ready");
                    return self.keep(readiness, true).await;
                }
                Outcome::Kept { version, reason } => (Some(version.as_str()), reason),
                Outcome::Failed(reason) => (None, reason),
            };
            let text = chain(reason);
            tracing::error!(in_use = version, "{text}");
            let way = way_back(&outcome, &self.pod, self.host.root());
            if let Some(way) = &way {
                tracing::info!("To try it again: {way}");
            }
            let text = told_of(&text, way.as_deref());
            readiness.set(Err(text.clone()));
            if text != told {
                self.tell(cluster, &text).await;
                told = text;
            }
            if !reason.may_pass() || version.is_some() {
                return self.keep(readiness, false).await;
            }
            sleep(pause).await;
            pause = LOOK_AGAIN.min(pause * 2);
        }
    }

    /// The node's outcome, and whether it is free of Skiff.
    fn bring_up(&self, handle: &Handle) -> (Outcome, bool) {
        let node = RealNode::new(handle.clone());
        let installer = self.installer(&node);
        let hello = |shim: Option<&Path>| {
            if self.over.load(Ordering::SeqCst) {
                return Err(CheckError::Refused {
                    what: "run a hello",
                    message: "Skiff is removed from the node".to_owned(),
                });
            }
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
        let outcome = upgrade::bring_up(&installer, &self.payload, &hello, PAUSE);
        (outcome, installer.is_clear().unwrap_or(false))
    }

    fn installer<'a>(&'a self, node: &'a RealNode) -> Installer<'a, RealNode> {
        Installer::new(&self.host, node, self.limits).until(&self.over)
    }

    /// Removes versions when the last pod on them has ended, and, if this version is in
    /// use, restores what was removed by others: some distributions rewrite containerd's
    /// configuration at any time.
    async fn keep(self: &Arc<Self>, readiness: &Readiness, in_use: bool) -> Infallible {
        if in_use {
            readiness.set(Ok(()));
        }
        loop {
            sleep(LOOK_AGAIN).await;
            let daemon = Arc::clone(self);
            let kept = blocking(move |handle| {
                let node = RealNode::new(handle.clone());
                let installer = daemon.installer(&node);
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

    async fn give_back(self: &Arc<Self>, cluster: &Cluster) -> Result<(), DaemonError> {
        let uninstall = || {
            let daemon = Arc::clone(self);
            blocking(move |handle| {
                let node = RealNode::new(handle.clone());
                let done = uninstall(&daemon.installer(&node));
                if let Uninstalled::Clear(report) | Uninstalled::Kept(report) = &done {
                    log(report);
                }
                done
            })
        };
        let given = give_back(cluster, &self.node_name, PAUSE, uninstall).await;
        if let Err(GiveBackError::Install(error)) = &given {
            self.tell(cluster, &chain(error)).await;
        }
        Ok(given?)
    }

    /// Nothing waits for labels: they are set when the API answers again.
    async fn label(&self, cluster: &Cluster, labels: Option<(&str, bool)>) {
        loop {
            let labelled = match labels {
                Some((version, ready)) => cluster.label(&self.node_name, version, ready).await,
                None => cluster.unlabel(&self.node_name).await,
            };
            let Err(error) = labelled else {
                return;
            };
            tracing::warn!("{}", chain(&error));
            sleep(PAUSE).await;
        }
    }

    /// Reports why the node is not ready, in every place where an operator may look.
    async fn tell(&self, cluster: &Cluster, reason: &str) {
        if let Err(error) = std::fs::write(&self.termination_message, reason) {
            tracing::warn!(%error, "Cannot write the termination message");
        }
        if let Err(error) = cluster.tell(&self.node_name, EVENT, reason).await {
            tracing::warn!("{}", chain(&error));
        }
    }
}

/// The command that retries a version which is not retried automatically.
fn way_back(outcome: &Outcome, pod: &Pod, root: &Path) -> Option<String> {
    let Pod { name, namespace } = pod;
    let delete = format!("kubectl -n {namespace} delete pod {name}");
    match outcome {
        // The failure is recorded; the next daemon would check it all the same.
        Outcome::Kept {
            reason: Reason::Check { .. } | Reason::FailedBefore { .. },
            ..
        } => Some(format!(
            "kubectl -n {namespace} exec {name} -- /skiff-installer --host-root={} install \
             && {delete}",
            root.display()
        )),
        Outcome::Failed(reason) if reason.may_pass() => None,
        Outcome::Kept { .. } | Outcome::Failed(_) => Some(delete),
        Outcome::Ready => None,
    }
}

/// A reason followed by the command, which is never cut off in an event, however long the
/// reason is.
fn told_of(reason: &str, way: Option<&str>) -> String {
    let Some(way) = way else {
        return reason.to_owned();
    };
    let way = format!("; to try it again: `{way}`");
    let room = LONGEST_MESSAGE.saturating_sub(way.len());
    let reason: String = reason.chars().take(room).collect();
    format!("{reason}{way}")
}

fn log(report: &Report) {
    for step in report.to_string().lines() {
        tracing::info!(step, "Done");
    }
}

/// Runs blocking work on its own thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce(&Handle) -> T + Send + 'static) -> T {
    let handle = Handle::current();
    match tokio::task::spawn_blocking(move || work(&handle)).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels it, and then nothing waits.
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
    fn a_version_that_is_not_tried_again_is_told_with_the_way_to_try_it() {
        const DELETE: &str = "kubectl -n skiff-system delete pod skiff-x7x2p";
        const INSTALL: &str = "kubectl -n skiff-system exec skiff-x7x2p -- \
                               /skiff-installer --host-root=/host install";
        let pod = Pod {
            name: "skiff-x7x2p".to_owned(),
            namespace: "skiff-system".to_owned(),
        };
        let version = || "1.1.0".to_owned();
        let source = || CheckError::TooLate {
            within: CHECKED_WITHIN,
        };
        let kept = |reason| Outcome::Kept {
            version: "1.0.0".to_owned(),
            reason,
        };
        let check = || Reason::Check {
            version: version(),
            source: source(),
        };
        let install = || Reason::Install {
            version: version(),
            source: InstallError::NoPrevious { version: None },
        };
        let taken_back = Reason::TakenBack {
            version: version(),
            source: source(),
        };
        let failed_before = Reason::FailedBefore { version: version() };
        let both = format!("{INSTALL} && {DELETE}");
        for (outcome, way) in [
            (Outcome::Ready, None),
            (kept(check()), Some(both.as_str())),
            (kept(failed_before), Some(&both)),
            (kept(install()), Some(DELETE)),
            (Outcome::Failed(install()), Some(DELETE)),
            (Outcome::Failed(taken_back), Some(DELETE)),
            // It is tried again automatically.
            (Outcome::Failed(check()), None),
        ] {
            let found = way_back(&outcome, &pod, Path::new("/host"));
            assert_eq!(found.as_deref(), way, "{outcome:?}");
        }
        assert_eq!(told_of("it trapped", None), "it trapped");
        assert_eq!(
            told_of("it trapped", Some(DELETE)),
            format!("it trapped; to try it again: `{DELETE}`")
        );
        let long = told_of(&"é".repeat(2 * LONGEST_MESSAGE), Some(&both));
        assert_eq!(long.chars().count(), LONGEST_MESSAGE);
        assert!(long.ends_with(&format!("`{both}`")), "{long}");
    }

    #[test]
    fn a_chain_is_told_in_one_line() {
        let inner = HostError {
            what: "write",
            path: "/opt".into(),
            source: std::io::ErrorKind::ReadOnlyFilesystem.into(),
        };
        assert_eq!(
            chain(&InstallError::from(inner)),
            "the node's files were not changed: cannot write `/opt` on the node: \
             read-only filesystem or storage medium"
        );
    }
}
