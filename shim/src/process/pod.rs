//! The process's limits for memory and descriptors, as reported by the kernel.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skiff_trigger_http::SPARE_CONNECTIONS;

/// Where control groups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Descriptors used for neither guests nor connections: listeners, timers, outputs,
/// mapped code.
const OWN: usize = 48;

/// How many descriptors are kept for guests if there are few.
const LEAST_FOR_GUESTS: usize = 8;

/// More are useless, as guests and connections reach their limits first.
const MOST: u64 = 1 << 20;

/// Bytes that this process may use together with all others of its pod: the limit of its
/// control groups, or else the machine's memory.
pub(super) fn memory() -> Option<usize> {
    least(&mut |file, error| {
        tracing::warn!(file = %file.display(), %error, "Cannot read a memory limit; it is ignored");
    })
}

/// Like [`memory`], but `None` if a file cannot be read.
pub(super) fn memory_now() -> Option<usize> {
    let mut is_whole = true;
    let bytes = least(&mut |_, _| is_whole = false);
    bytes.filter(|_| is_whole)
}

/// Called for files that exist but cannot be read.
type Unread<'a> = &'a mut dyn FnMut(&Path, &io::Error);

fn least(unread: Unread<'_>) -> Option<usize> {
    let groups = read(Path::new("/proc/self/cgroup"), unread).unwrap_or_default();
    let allowed = limit(&groups, Path::new(CGROUPS), unread);
    let machine = read(Path::new("/proc/meminfo"), unread);
    let machine = machine.as_deref().and_then(total);
    let least = allowed.into_iter().chain(machine).min();
    least.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

fn read(file: &Path, unread: Unread<'_>) -> Option<String> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => None,
        Err(error) => {
            unread(file, &error);
            None
        }
    }
}

/// The smallest limit of the process's groups and all their parents.
fn limit(groups: &str, root: &Path, unread: Unread<'_>) -> Option<u64> {
    let files = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next().unwrap_or_default();
        let group = parts.next().unwrap_or_default().trim_start_matches('/');
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        // Inside a container the group may have its name on the host, while it is the
        // root here.
        let folders = Path::new(group).ancestors().map(|group| root.join(group));
        folders
            .map(|folder| folder.join(file))
            .collect::<Vec<PathBuf>>()
    });
    // "No limit" is `max`, or in version 1 a number beyond all memory.
    let limits = files.filter_map(|file| match read(&file, unread)?.trim() {
        "max" => None,
        text => {
            let wrong = |error| unread(&file, &io::Error::new(io::ErrorKind::InvalidData, error));
            text.parse().map_err(wrong).ok()
        }
    });
    limits.min()
}

/// The machine's memory.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// How descriptors are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Connections that have one each.
    pub(super) connections: usize,
    /// Descriptors below this number are for guests' files.
    pub(super) guests: RawFd,
}

/// Divides this process's descriptors, after raising the limit as far as possible.
pub(super) fn descriptors(connections: usize) -> Descriptors {
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.unwrap_or(MOST).min(MOST);
    let raised = Rlimit {
        current: Some(most),
        maximum: limits.maximum,
    };
    let now = limits.current.unwrap_or(MOST);
    let all = if now < most && setrlimit(Resource::Nofile, raised).is_ok() {
        most
    } else {
        now
    };
    divide(usize::try_from(all).unwrap_or(usize::MAX), connections)
}

fn divide(all: usize, connections: usize) -> Descriptors {
    let others = SPARE_CONNECTIONS + OWN;
    let guests = all
        .saturating_sub(connections + others)
        .max(all / LEAST_FOR_GUESTS);
    Descriptors {
        connections: connections.min(all.saturating_sub(guests + others)).max(1),
        guests: RawFd::try_from(guests).unwrap_or(RawFd::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_on_the_way_to_the_root_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("kubepods/pod");
        fs::create_dir_all(&group).unwrap();
        fs::create_dir_all(root.path().join("memory/pod")).unwrap();
        fs::write(root.path().join("kubepods/memory.max"), "500\n").unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        let found = |groups: &str| {
            limit(groups, root.path(), &mut |file, error| {
                panic!("{}: {error}", file.display())
            })
        };
        assert_eq!(found("0::/kubepods/pod\n"), Some(500));
        assert_eq!(found("0::/\n"), None);
        fs::write(root.path().join("memory.max"), "400\n").unwrap();
        assert_eq!(found("0::/kubepods/pod\n"), Some(400));
        let old = root.path().join("memory/pod/memory.limit_in_bytes");
        fs::write(old, "300\n").unwrap();
        let groups = "5:cpu,cpuacct:/pod\n4:hugetlb,memory:/pod\n";
        assert_eq!(found(groups), Some(300));
    }

    #[test]
    fn a_limit_that_cannot_be_read_is_told_by_its_file() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("memory.max");
        let told = || {
            let mut told = Vec::new();
            let found = limit("0::/\n", root.path(), &mut |file, _| {
                told.push(file.to_owned());
            });
            assert_eq!(found, None);
            told
        };
        fs::write(&file, "some\n").unwrap();
        assert_eq!(told(), std::slice::from_ref(&file));
        fs::remove_file(&file).unwrap();
        assert!(told().is_empty());
        // A folder in place of the file.
        fs::create_dir(&file).unwrap();
        assert_eq!(told(), [file]);
    }

    #[test]
    fn a_machine_tells_its_memory() {
        assert_eq!(
            total("MemTotal:       16 kB\nMemFree: 1 kB\n"),
            Some(16 << 10)
        );
        assert!(memory().is_some());
        assert_eq!(memory_now(), memory());
    }

    #[test]
    fn connections_and_guests_do_not_take_each_others_descriptors() {
        for all in [256, 1024, 4096, 1 << 20] {
            let Descriptors {
                connections,
                guests,
            } = divide(all, 900);
            let others = SPARE_CONNECTIONS + OWN;
            assert!(
                guests as usize + connections + others <= all.max(200),
                "{all}"
            );
            assert!(guests > 0 && connections > 0);
        }
        assert_eq!(divide(1 << 20, 900).connections, 900);
        assert_eq!(divide(1024, 900).connections, 784);
    }
}
