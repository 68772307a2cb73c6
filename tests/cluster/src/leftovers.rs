//! Leftovers of pods, and leftovers of the cluster.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skiff_test_support::cgroups::Tree;
use skiff_test_support::guard::Run;
use skiff_test_support::leftovers::Leftover;
use skiff_test_support::processes;

use crate::inside::Scope;
use crate::places::{ADDRESSES, CONTAINERD, KUBELET, POD_LOGS};

/// Folders in which each entry belongs to a running pod or container.
const OF_PODS: [&str; 7] = [
    "/run/netns",
    "/run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "/run/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/run/containerd/io.containerd.grpc.v1.cri/containers",
    "/run/containerd/s",
    "/run/containerd/runc/k8s.io",
    "/var/lib/kubelet/pods",
];

/// Folders below which mounts belong to pods.
const MOUNTED: [&str; 5] = [
    "/run/containerd",
    "/run/netns",
    "/run/skiff",
    KUBELET,
    CONTAINERD,
];

/// The state of the node without pods, or with only those of Skiff's installer.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    processes: BTreeSet<u32>,
    mounts: BTreeSet<PathBuf>,
    groups: BTreeSet<PathBuf>,
    interfaces: BTreeSet<String>,
    files: BTreeSet<PathBuf>,
}

impl Baseline {
    /// Records a node on which no case has run pods yet.
    pub(crate) fn of(scope: &Scope) -> Self {
        Self {
            processes: scope.cgroups().processes().into_iter().collect(),
            mounts: mounts().into_iter().collect(),
            groups: scope.cgroups().groups().into_iter().collect(),
            interfaces: interfaces().collect(),
            files: files().collect(),
        }
    }

    /// What has been added since, except the cluster's own parts.
    pub(crate) async fn left(
        &self,
        scope: &Scope,
        parts: &[u32],
        limit: Duration,
    ) -> Vec<Leftover> {
        const AGAIN: Duration = Duration::from_millis(100);
        let end = Instant::now() + limit;
        loop {
            let left = self.now(scope, parts);
            if left.is_empty() || Instant::now() > end {
                return left;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn now(&self, scope: &Scope, parts: &[u32]) -> Vec<Leftover> {
        let tree = scope.cgroups();
        let mut left: Vec<_> = tree
            .processes()
            .into_iter()
            .filter(|pid| !parts.contains(pid) && !self.processes.contains(pid))
            .filter_map(processes::look_up)
            // Kept for later pods: they outlive the pods that created them.
            .filter(|process| !process.command.contains("internal optimize"))
            .map(Leftover::Process)
            .collect();
        let new = |path: &PathBuf| !self.mounts.contains(path);
        left.extend(mounts().into_iter().filter(new).map(Leftover::Mount));
        let groups = tree.groups().into_iter();
        let groups = groups.filter(|group| !self.groups.contains(group) && !is_kubelets(group));
        left.extend(groups.map(Leftover::Cgroup));
        let new = interfaces().filter(|name| !self.interfaces.contains(name));
        left.extend(new.map(Leftover::Interface));
        let files = files().filter(|file| !self.files.contains(file));
        left.extend(files.map(Leftover::File));
        left
    }
}

/// Groups that kubelet keeps for later pods. In some hierarchies the first container
/// makes them.
fn is_kubelets(group: &Path) -> bool {
    ["kubepods", "kubepods/besteffort", "kubepods/burstable"]
        .iter()
        .any(|name| group.ends_with(name))
}

/// Entries that belong to pods, and addresses that they hold.
fn files() -> impl Iterator<Item = PathBuf> {
    let own = OF_PODS.into_iter().chain([POD_LOGS]).flat_map(entries);
    let addresses = entries(&format!("{ADDRESSES}/pods")).into_iter();
    // Besides a file per address there are a lock and the last address given.
    let addresses = addresses.filter(|file| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.parse::<IpAddr>().is_ok())
    });
    own.chain(addresses)
}

fn entries(folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Mount points that belong to pods, deepest first.
fn mounts() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut places: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|place| MOUNTED.iter().any(|folder| place.starts_with(folder)))
        .collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.components().count()));
    places
}

/// The node's ends of pods' interfaces.
fn interfaces() -> impl Iterator<Item = String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names: Vec<_> = table
        .lines()
        .filter_map(|line| line.trim_start().split_once(':'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("veth"))
        .collect();
    names.into_iter()
}

/// The places where a run could leave something on the machine.
#[derive(Debug)]
pub(crate) struct Traces {
    tree: Tree,
    folders: [PathBuf; 2],
}

impl Traces {
    /// Those of a run.
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            tree: run.cgroups(),
            folders: [run.folder().to_owned(), run.state().to_owned()],
        }
    }

    /// What is left although the run is over.
    pub(crate) fn left(&self) -> Vec<Leftover> {
        let processes = self.tree.processes();
        let processes = processes.into_iter().filter_map(processes::look_up);
        let mut left: Vec<_> = processes.map(Leftover::Process).collect();
        left.extend(self.tree.groups().into_iter().map(Leftover::Cgroup));
        let there = self.folders.iter().filter(|folder| Path::exists(folder));
        left.extend(there.cloned().map(Leftover::File));
        left
    }
}
