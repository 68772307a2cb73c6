//! Giving a node back: what the cluster is told of it, and when.

use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::{Cluster, ClusterError};
use crate::daemon::chain;
use crate::install::{InstallError, Installer, Report};
use crate::node::Node;

/// What came of an uninstall.
#[derive(Debug)]
pub enum Uninstalled {
    /// Nothing of Skiff is on the node.
    Clear(Report),
    /// What pods still need is. A later uninstall takes it.
    Kept(Report),
    /// It did not come to its end.
    Failed {
        /// Why.
        error: InstallError,
        /// Whether containerd still offers the handler.
        in_use: bool,
    },
}

/// Why a node is not given back.
#[derive(Debug, thiserror::Error)]
pub enum GiveBackError {
    /// It stays as it was.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The cluster does not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Takes everything off the node that can be taken.
pub fn uninstall<N: Node>(installer: &Installer<'_, N>) -> Uninstalled {
    let done = installer.uninstall(false);
    match done.and_then(|report| Ok((report, installer.is_clear()?))) {
        Ok((report, true)) => Uninstalled::Clear(report),
        Ok((report, false)) => Uninstalled::Kept(report),
        Err(error) => Uninstalled::Failed {
            error,
            in_use: installer.is_offered(),
        },
    }
}

/// Has no new pods come to a node, uninstalls, and only then says that nothing is
/// left on it. Tries again after `pause` as long as pods need something, or another
/// installer is at work.
///
/// # Errors
///
/// Where the uninstall fails; new pods may then come as before, if containerd still
/// offers the handler.
pub async fn give_back(
    cluster: &Cluster,
    node: &str,
    pause: Duration,
    uninstall: impl AsyncFn() -> Uninstalled,
) -> Result<(), GiveBackError> {
    let was_ready = cluster.node(node).await?.is_ready;
    cluster.set_ready(node, false).await?;
    let mut told = false;
    loop {
        match uninstall().await {
            Uninstalled::Clear(_) => break,
            Uninstalled::Kept(_) if told => {}
            Uninstalled::Kept(_) => {
                cluster.tell_kept(node).await?;
                told = true;
            }
            // An installation that was under way when the word came.
            Uninstalled::Failed {
                error: InstallError::Busy,
                ..
            } => {}
            Uninstalled::Failed { error, in_use } => {
                if was_ready && in_use {
                    // The first error matters more than this one.
                    if let Err(error) = cluster.set_ready(node, true).await {
                        tracing::warn!("{}", chain(&error));
                    }
                }
                return Err(error.into());
            }
        }
        sleep(pause).await;
    }
    Ok(cluster.unlabel(node).await?)
}
