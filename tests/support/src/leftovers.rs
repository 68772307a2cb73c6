//! What should not exist after every pod and task was removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::guard::{Run, mounts_below};
use crate::processes::{self, Process};

/// How long processes may take to end. Shims and their helpers end on their own after
/// their pod is gone.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(10);

/// The folder of pods' network namespaces, below containerd's state.
const NAMESPACES: &str = "io.containerd.grpc.v1.cri/netns";

/// Something that outlived its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// A pod, task or daemon that could not be removed, with the reason.
    Unremoved(String),
    /// A process.
    Process(Process),
    /// A mount.
    Mount(PathBuf),
    /// A cgroup.
    Cgroup(PathBuf),
    /// A network namespace.
    NetworkNamespace(PathBuf),
    /// An interface of a pod.
    Interface(String),
    /// A socket or other file of a shim.
    File(PathBuf),
}

impl std::fmt::Display for Leftover {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unremoved(reason) => write!(out, "not removed: {reason}"),
            Self::Process(process) => write!(out, "process {process}"),
            Self::Mount(path) => write!(out, "mount {}", path.display()),
            Self::Cgroup(path) => write!(out, "cgroup {}", path.display()),
            Self::NetworkNamespace(path) => write!(out, "network namespace {}", path.display()),
            Self::Interface(name) => write!(out, "interface {name}"),
            Self::File(path) => write!(out, "file {}", path.display()),
        }
    }
}

/// Leftovers of pods and tasks while containerd, process `daemon`, still runs, after
/// waiting up to `limit`.
pub fn of_pods(run: &Run, daemon: u32, limit: Duration) -> Vec<Leftover> {
    let others = || -> BTreeSet<u32> {
        run.cgroups()
            .processes()
            .into_iter()
            .filter(|pid| *pid != daemon)
            .collect()
    };
    let mut left: Vec<_> = processes::wait_gone(others, limit)
        .into_iter()
        .map(Leftover::Process)
        .collect();
    left.extend(settled(limit, || {
        let mut left = files(&run.state().join(NAMESPACES), Leftover::NetworkNamespace);
        let mounts = mounts_below(&[run.folder(), run.state()]);
        left.extend(
            mounts
                .into_iter()
                .filter(|place| !is_own(place))
                .map(Leftover::Mount),
        );
        left.extend(groups_of_containers(run));
        left.extend(interfaces(run).into_iter().map(Leftover::Interface));
        left
    }));
    left
}

/// Leftovers after containerd ended: no process may run, and no shim socket may exist.
pub fn of_containerd(run: &Run) -> Vec<Leftover> {
    let all = || run.cgroups().processes();
    let processes = processes::wait_gone(all, GONE_WITHIN);
    let mut left: Vec<_> = processes.into_iter().map(Leftover::Process).collect();
    if run.is_isolated() {
        // The machine's own shims have theirs there too, but not in a run with its own
        // /run.
        left.extend(files(Path::new("/run/containerd/s"), Leftover::File));
    }
    left
}

/// The run's ends of pods' interfaces. In a new network namespace, `/sys` still shows the
/// machine's interfaces.
fn interfaces(run: &Run) -> Vec<String> {
    if !run.is_isolated() {
        let bridge = Path::new("/sys/class/net").join(run.bridge()).join("brif");
        let Ok(entries) = fs::read_dir(bridge) else {
            return Vec::new();
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        return names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
    }
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = table
        .lines()
        .filter_map(|line| line.trim_start().split_once(':'));
    names
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("veth"))
        .collect()
}

/// The cgroups below the run's that are not containerd's own.
fn groups_of_containers(run: &Run) -> Vec<Leftover> {
    let groups = run.cgroups().groups();
    // The parents of a container's group (`pods`, the group of a pod itself) are removed
    // by kubelet; empty ones may stay.
    let made_on_the_way = |group: &Path| {
        let inner = group
            .components()
            .rev()
            .take_while(|part| part.as_os_str() != run.name());
        let depth = inner.count();
        let below_pods = group.components().any(|part| part.as_os_str() == "pods");
        depth == 0 || group.ends_with("daemon") || (below_pods && depth <= 2)
    };
    groups
        .into_iter()
        .filter(|group| !made_on_the_way(group))
        .map(Leftover::Cgroup)
        .collect()
}

/// The overlay on `/var/lib` is the run's own.
fn is_own(place: &Path) -> bool {
    place.components().any(|part| part.as_os_str() == "var-lib")
}

/// Checks until nothing is left or the time is over.
fn settled(limit: Duration, look: impl Fn() -> Vec<Leftover>) -> Vec<Leftover> {
    const AGAIN: Duration = Duration::from_millis(20);
    let end = Instant::now() + limit;
    loop {
        let left = look();
        if left.is_empty() || Instant::now() > end {
            return left;
        }
        std::thread::sleep(AGAIN);
    }
}

fn files(folder: &Path, kind: fn(PathBuf) -> Leftover) -> Vec<Leftover> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| kind(entry.path())).collect()
}
