//! Taking Skiff off a whole cluster, which the chart does before it is deleted.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, ClusterError};
use crate::exit::ExitCode;

/// How many pods are named where they are in the way.
const NAMED: usize = 10;

/// How long all nodes together may take. Each takes a few seconds, all at once; a
/// node that restarts a control plane takes a minute.
pub const RETIRED_WITHIN: Duration = Duration::from_secs(300);

/// How long between two looks at the nodes.
const AGAIN: Duration = Duration::from_secs(1);

/// Why Skiff is still there.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// Pods would lose their runtime.
    #[error(
        "{} still use the runtime: {}; delete them first, or force it (--force) \
         and they keep running until they are deleted", count(*number), named.join(", ")
    )]
    InUse {
        /// How many.
        number: usize,
        /// The first of them.
        named: Vec<String>,
    },
    /// Some nodes do not answer.
    #[error(
        "these nodes have not given everything back within {} s: {}; \
         the log of the installer's pod on each tells why", within.as_secs(), nodes.join(", ")
    )]
    TooLate {
        /// Their names.
        nodes: Vec<String>,
        /// The limit.
        within: Duration,
    },
    /// The API does not answer.
    #[error("the cluster cannot be asked")]
    Cluster(#[from] ClusterError),
}

impl RetireError {
    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::InUse { .. } => ExitCode::InUse,
            Self::TooLate { .. } => ExitCode::Runtime,
            Self::Cluster(_) => ExitCode::Cluster,
        }
    }
}

fn count(number: usize) -> String {
    match number {
        1 => "1 pod".to_owned(),
        number if number > NAMED => format!("{number} pods, ten of which are named here,"),
        number => format!("{number} pods"),
    }
}

/// Tells all nodes to give everything back, and waits until they have. Gives
/// their names.
///
/// # Errors
///
/// Where pods still use the runtime and it is not forced, or nodes do not do it in
/// time.
pub async fn retire(
    cluster: &Cluster,
    force: bool,
    within: Duration,
) -> Result<Vec<String>, RetireError> {
    if !force {
        let mut named = cluster.pods_in_use().await?;
        let number = named.len();
        named.truncate(NAMED);
        if number > 0 {
            return Err(RetireError::InUse { number, named });
        }
    }
    let nodes: Vec<_> = cluster.labelled().await?;
    for node in &nodes {
        if !node.to_uninstall {
            cluster.tell_uninstall(&node.name, true).await?;
        }
    }
    let waited = wait(cluster, within).await;
    // Also where some did not answer: they would do it at an odd time later on.
    for node in &nodes {
        cluster.tell_uninstall(&node.name, false).await?;
    }
    waited?;
    Ok(nodes.into_iter().map(|node| node.name).collect())
}

async fn wait(cluster: &Cluster, within: Duration) -> Result<(), RetireError> {
    let end = Instant::now() + within;
    loop {
        let left = cluster.labelled().await?;
        let nodes: Vec<_> = left
            .into_iter()
            .filter(|node| node.has_version)
            .map(|node| node.name)
            .collect();
        if nodes.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(RetireError::TooLate { nodes, within });
        }
        sleep(AGAIN).await;
    }
}
