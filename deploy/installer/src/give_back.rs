//! Removing Skiff from a node, and reporting it to the cluster.

use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::{Cluster, ClusterError};
use crate::daemon::chain;
use crate::install::{InstallError, Installer, Report};
use crate::node::Node;

/// The outcome of an uninstall.
#[derive(Debug)]
pub enum Uninstalled {
    /// Nothing of Skiff is on the node.
    Clear(Report),
    /// What pods still need is left. A later uninstall removes it.
    Kept(Report),
    /// It failed.
    Failed {
        /// Why.
        error: InstallError,
        /// Whether containerd still offers the handler.
        in_use: bool,
    },
}

/// Why Skiff is not removed from a node.
#[derive(Debug, thiserror::Error)]
pub enum GiveBackError {
    /// Nothing was changed.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The cluster does not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Removes everything from the node that can be removed.
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

/// Keeps new pods off a node, uninstalls, and only then reports that nothing is left.
/// Tries again after `pause` as long as pods need something, or another installer is at
/// work.
///
/// # Errors
///
/// If the uninstall fails; new pods may then come as before, if containerd still
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
            // An installation was under way when the request came.
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
