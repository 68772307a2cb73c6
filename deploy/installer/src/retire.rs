//! Removing Skiff from a whole cluster, which the chart does before it is deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, ClusterError, Labelled};
use crate::exit::ExitCode;

/// How many pods a message names.
const NAMED: usize = 10;

/// How long all nodes together may take. Each takes a few seconds, all at once; a
/// node that restarts a control plane takes a minute.
pub const RETIRED_WITHIN: Duration = Duration::from_secs(300);

/// How long between two looks at the nodes.
const AGAIN: Duration = Duration::from_secs(1);

/// Why Skiff was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// Pods would lose their runtime.
    #[error(
        "{} still use the runtime: {}; delete them first, or use --force (in the chart \
         uninstall.force), and they keep running until they are deleted", count(*number), named.join(", ")
    )]
    InUse {
        /// How many.
        number: usize,
        /// The first of them.
        named: Vec<String>,
    },
    /// Some nodes did not remove it in time.
    #[error(
        "Skiff was not removed from these nodes within {} s: {}; \
         see the log of the installer's pod on each", within.as_secs(), nodes.join(", ")
    )]
    TooLate {
        /// Their names.
        nodes: Vec<String>,
        /// The limit.
        within: Duration,
    },
    /// The API does not answer.
    #[error("cannot query the cluster")]
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

/// A node from which Skiff is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// Its name.
    pub name: String,
    /// Whether it keeps what its pods still need. Only if forced.
    pub keeps: bool,
}

/// Asks all nodes to remove Skiff, and waits until they have. If forced, running pods do
/// not hold it up.
///
/// # Errors
///
/// If pods still use the runtime and it is not forced, or nodes are too slow.
pub async fn retire(
    cluster: &Cluster,
    force: bool,
    within: Duration,
) -> Result<Vec<Retired>, RetireError> {
    if !force {
        let mut named = cluster.pods_in_use().await?;
        let number = named.len();
        named.truncate(NAMED);
        if number > 0 {
            return Err(RetireError::InUse { number, named });
        }
    }
    let mut told = BTreeSet::new();
    let waited = tell_and_wait(cluster, force, within, &mut told).await;
    // Also if some did not answer: they would otherwise do it unexpectedly later.
    for name in &told {
        cluster.tell_uninstall(name, false).await?;
    }
    let keep = waited?;
    let retired = told.into_iter().map(|name| Retired {
        keeps: keep.contains(&name),
        name,
    });
    Ok(retired.collect())
}

/// Asks every node, also one that is labelled only meanwhile. Returns the names of those
/// that keep something.
async fn tell_and_wait(
    cluster: &Cluster,
    force: bool,
    within: Duration,
    told: &mut BTreeSet<String>,
) -> Result<Vec<String>, RetireError> {
    let end = Instant::now() + within;
    loop {
        let nodes = cluster.labelled().await?;
        let mut all_knew = true;
        for node in &nodes {
            if told.insert(node.name.clone()) && !node.to_uninstall {
                cluster.tell_uninstall(&node.name, true).await?;
                all_knew = false;
            }
        }
        if !all_knew {
            continue;
        }
        let left = nodes.into_iter().filter(|node| node.has_version);
        let (keep, late): (Vec<_>, Vec<_>) = left.partition(|node| force && node.keeps);
        let names = |nodes: Vec<Labelled>| nodes.into_iter().map(|node| node.name).collect();
        let nodes: Vec<_> = names(late);
        if nodes.is_empty() {
            return Ok(names(keep));
        }
        if Instant::now() >= end {
            return Err(RetireError::TooLate { nodes, within });
        }
        sleep(AGAIN).await;
    }
}
