//! Cleans up the machine, however the run ends.
//!
//! A [`Run`] is one folder, one cgroup tree and one second process: the guard. The guard
//! is the same program again. It waits for the other end of a pipe to close, which
//! happens when the run ends, panics or is killed, and removes all leftovers. So even
//! `kill -9` leaves nothing.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Signal, geteuid};

use crate::cgroups::Tree;
use crate::{isolation, network, paths, processes};

/// The argument that makes the program the guard.
const ROLE: &str = "--clear-up-after";

/// How long killed processes may take to leave their cgroups.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Folders that containerd, its shims and CNI create whatever their configuration.
/// Children come before their parents.
const FIXED_PLACES: [&str; 7] = [
    "/run/containerd/runc/k8s.io",
    "/run/containerd/runc",
    "/run/containerd/s",
    "/run/containerd",
    "/var/lib/cni/results",
    "/var/lib/cni/cache",
    "/var/lib/cni",
];

/// Numbers the runs of one process, for programs that have several.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// What can go wrong when a run starts.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// containerd needs root.
    #[error("a private containerd needs root")]
    NotRoot,
    /// The folder of the run cannot be made.
    #[error("cannot make `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The guard cannot be started.
    #[error("cannot start the guard of the run")]
    Guard(#[source] io::Error),
    /// It cannot get its own namespaces.
    #[error(transparent)]
    Isolation(#[from] isolation::IsolationError),
}

/// One run: everything that it starts, mounts and writes is below its names.
///
/// Dropping it kills and removes all leftovers.
#[derive(Debug)]
pub struct Run {
    scope: Scope,
    isolated: bool,
    guard: Option<Child>,
}

impl Run {
    /// A run in its own namespaces; see [`isolation::enter`] for when this may be called.
    ///
    /// # Errors
    ///
    /// Without root, or when folder, guard or namespaces cannot be set up.
    pub fn isolated() -> Result<Self, RunError> {
        let mut run = Self::on_this_machine()?;
        isolation::enter(&run.scope.folder.join("var-lib"))?;
        run.isolated = true;
        Ok(run)
    }

    /// A run whose pods are on a bridge of the machine's own network, so that every
    /// program on the machine can reach them.
    ///
    /// # Errors
    ///
    /// Without root, or when folder or guard cannot be set up.
    pub fn on_this_machine() -> Result<Self, RunError> {
        if !geteuid().is_root() {
            return Err(RunError::NotRoot);
        }
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("skiff-{}-{number}", std::process::id());
        let scope = Scope {
            folder: paths::target_dir().join("tmp").join(&name),
            // Paths of sockets must be short, and the target folder's may not be.
            state: Path::new("/run").join(&name),
            bridge: format!("sk{}-{number}", std::process::id()),
            name,
        };
        fs::create_dir_all(&scope.folder).map_err(|source| RunError::Folder {
            path: scope.folder.clone(),
            source,
        })?;
        let guard = scope.post_guard().map_err(RunError::Guard)?;
        Ok(Self {
            scope,
            isolated: false,
            guard: Some(guard),
        })
    }

    /// The name that is in every path, cgroup and namespace of the run.
    pub fn name(&self) -> &str {
        &self.scope.name
    }

    /// Its folder on disk.
    pub fn folder(&self) -> &Path {
        &self.scope.folder
    }

    /// Its folder for sockets and other short-lived state, below `/run`.
    pub fn state(&self) -> &Path {
        &self.scope.state
    }

    /// The bridge of its pods.
    pub fn bridge(&self) -> &str {
        &self.scope.bridge
    }

    /// Whether it has its own network and `/run`.
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// The addresses of its pods. Isolated runs may share one range; others
    /// pick one by process id, so that two at once rarely meet.
    pub fn subnet(&self) -> String {
        if self.isolated {
            return "10.88.0.0/16".to_owned();
        }
        format!(
            "10.{}.{}.0/24",
            90 + std::process::id() / 256 % 16,
            std::process::id() % 256
        )
    }

    /// The cgroup tree that all its processes are in.
    pub fn cgroups(&self) -> Tree {
        Tree::new(&self.scope.name)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.scope.clear();
        if let Some(mut guard) = self.guard.take() {
            // Closing the pipe starts the guard, which then finds nothing to do.
            drop(guard.stdin.take());
            guard.wait().ok();
        }
    }
}

/// Becomes the guard, and never returns, if the program was started as one. Call it first
/// in `main`.
pub fn run_if_asked() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|role| role != ROLE) {
        return;
    }
    let Some(scope) = Scope::from_args(args) else {
        std::process::exit(2)
    };
    // Both an end of file and an error mean that the other end is closed.
    io::stdin().read_to_end(&mut Vec::new()).ok();
    scope.clear();
    std::process::exit(0);
}

/// The names of everything that belongs to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    name: String,
    folder: PathBuf,
    state: PathBuf,
    bridge: String,
}

impl Scope {
    fn from_args(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        Some(Self {
            name: args.next()?.into_string().ok()?,
            folder: args.next()?.into(),
            state: args.next()?.into(),
            bridge: args.next()?.into_string().ok()?,
        })
    }

    fn post_guard(&self) -> io::Result<Child> {
        Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(&self.name)
            .arg(&self.folder)
            .arg(&self.state)
            .arg(&self.bridge)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // An interrupt from the keyboard is meant for the run, not for the guard.
            .process_group(0)
            .spawn()
    }

    /// Ends and removes everything, dependants first. May be called again.
    fn clear(&self) {
        let tree = Tree::new(&self.name);
        for pid in tree.processes() {
            processes::signal(pid, Signal::KILL);
        }
        let left = processes::wait_gone(
            || {
                tree.processes()
                    .into_iter()
                    .inspect(|pid| processes::signal(*pid, Signal::KILL))
                    .collect()
            },
            GONE_WITHIN,
        );
        for process in left {
            eprintln!("process {process} of the run cannot be ended");
        }
        for place in mounts_below(&[&self.folder, &self.state]) {
            if let Err(error) = unmount(&place, UnmountFlags::DETACH) {
                eprintln!("cannot unmount `{}`: {error}", place.display());
            }
        }
        for group in tree.remove(GONE_WITHIN) {
            eprintln!("cannot remove the cgroup `{}`", group.display());
        }
        if let Err(error) = network::remove_bridge(&self.bridge) {
            eprintln!("cannot remove the bridge {}: {error}", self.bridge);
        }
        let runtime = Path::new("/run/containerd/runc").join(&self.name);
        for folder in [runtime.as_path()]
            .into_iter()
            .chain(FIXED_PLACES.map(Path::new))
        {
            // They are the machine's, and are removed only if unused.
            fs::remove_dir(folder).ok();
        }
        for folder in [&self.state, &self.folder] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    eprintln!("cannot remove `{}`: {error}", folder.display());
                }
                _ => {}
            }
        }
    }
}

/// Mount points below these folders, deepest first, each as often as it is
/// mounted over.
pub(crate) fn mounts_below(folders: &[&Path]) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut places: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|escaped| PathBuf::from(unescaped(escaped)))
        .filter(|place| folders.iter().any(|folder| place.starts_with(folder)))
        .collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.components().count()));
    places
}

/// The mount table writes blanks and the like as three octal digits.
fn unescaped(text: &str) -> String {
    [
        (r"\040", " "),
        (r"\011", "\t"),
        (r"\012", "\n"),
        (r"\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_survives_the_way_to_the_guard() {
        let scope = Scope {
            name: "skiff-1-0".into(),
            folder: "/a folder/x".into(),
            state: "/run/x".into(),
            bridge: "sk1-0".into(),
        };
        let args = ["skiff-1-0", "/a folder/x", "/run/x", "sk1-0"].map(OsString::from);
        assert_eq!(Scope::from_args(args.into_iter()), Some(scope));
    }

    #[test]
    fn a_guard_without_its_names_clears_nothing() {
        assert_eq!(Scope::from_args([OsString::from("only")].into_iter()), None);
    }

    #[test]
    fn blanks_in_mount_points_are_read_back() {
        assert_eq!(unescaped(r"/a\040b\134c"), r"/a b\c");
    }
}
