//! Detects whether the kernel killed processes of a container for lack of memory.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup;

/// The file in which the kernel counts the kills of one control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counter(PathBuf);

impl Counter {
    /// The counter of a process's group. `None` if the kernel does not limit its memory
    /// by groups.
    pub(crate) fn of_process(pid: i32) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        find(&groups, Path::new(cgroup::ROOT)).map(Counter)
    }

    /// Whether the kernel has killed a process of the group for lack of memory.
    pub(crate) fn has_counted(&self) -> bool {
        // A removed group no longer has a counter.
        fs::read_to_string(&self.0).is_ok_and(|text| kills(&text) > 0)
    }

    /// The processes in the group.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let listed = fs::read_to_string(self.0.with_file_name("cgroup.procs"));
        let numbers = listed.unwrap_or_default();
        numbers
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect()
    }
}

/// Reads the lines of `/proc/<pid>/cgroup`: `0::/path` in version 2,
/// `<number>:<controllers>:/path` in version 1.
fn find(groups: &str, mounted: &Path) -> Option<PathBuf> {
    let below = |folder: PathBuf, path: &str| folder.join(path.trim_start_matches('/'));
    let mut unified = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        if controllers.split(',').any(|name| name == "memory") {
            return Some(below(mounted.join("memory"), path).join("memory.oom_control"));
        }
        if controllers.is_empty() {
            unified = Some(below(mounted.to_owned(), path).join("memory.events"));
        }
    }
    unified
}

/// Both versions have a line `oom_kill <number>`.
fn kills(text: &str) -> u64 {
    let counted = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    counted
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_in_both_versions() {
        let mounted = Path::new("/c");
        assert_eq!(
            find("0::/pods/one\n", mounted).unwrap(),
            Path::new("/c/pods/one/memory.events")
        );
        let hybrid = "12:cpu,cpuacct:/a\n8:memory:/pods/one\n0::/other\n";
        assert_eq!(
            find(hybrid, mounted).unwrap(),
            Path::new("/c/memory/pods/one/memory.oom_control")
        );
        assert_eq!(find("", mounted), None);
        assert_eq!(find("nonsense\n", mounted), None);
    }

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(kills("low 0\noom 2\noom_kill 3\noom_group_kill 0\n"), 3);
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 1);
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\n"), 0);
    }
}
