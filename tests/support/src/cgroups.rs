//! One cgroup tree per run: its processes, and its removal.
//!
//! containerd and everything it starts are below one name in every hierarchy, so a
//! process cannot leave its run by detaching from its parent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The cgroup tree of one run, in whatever hierarchies the machine has.
#[derive(Debug, Clone)]
pub struct Tree {
    name: String,
}

impl Tree {
    /// A tree of that name; nothing is created until a process is put in.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// Moves a process into `<name>/<child>` of the hierarchies that are used to find it
    /// again, and of those in which a systemd among its descendants makes groups. On
    /// version 2 one hierarchy serves both.
    ///
    /// # Errors
    ///
    /// When no hierarchy is mounted, or the kernel refuses the move.
    pub fn adopt(&self, child: &str, pid: u32) -> std::io::Result<()> {
        const TRACKING: [&str; 3] = ["pids", "systemd", "unified"];
        let hierarchies = hierarchies();
        let is_tracking = |mount: &&PathBuf| TRACKING.iter().any(|name| mount.ends_with(name));
        let mut tracking: Vec<_> = hierarchies.iter().filter(is_tracking).collect();
        if tracking.is_empty() {
            let any = hierarchies.first();
            tracking
                .push(any.ok_or_else(|| std::io::Error::other("no cgroup hierarchy is mounted"))?);
        }
        for hierarchy in tracking {
            let group = hierarchy.join(&self.name).join(child);
            fs::create_dir_all(&group)?;
            fs::write(group.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Every process of the tree, by id.
    pub fn processes(&self) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        for group in self.groups() {
            found.extend(processes_of(&group));
        }
        found
    }

    /// Every folder of the tree, children before their parents.
    pub fn groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for mount in hierarchies() {
            descend(&mount.join(&self.name), &mut found);
        }
        found
    }

    /// Removes the tree, and returns what cannot be removed within `limit`: a group stays
    /// busy for a moment after its last process ended.
    pub fn remove(&self, limit: Duration) -> Vec<PathBuf> {
        const AGAIN: Duration = Duration::from_millis(10);
        let end = Instant::now() + limit;
        loop {
            let groups = self.groups();
            if groups.is_empty() || Instant::now() > end {
                return groups;
            }
            for group in groups {
                // A busy one is tried again, or reported in the end.
                fs::remove_dir(&group).ok();
            }
            if !self.groups().is_empty() {
                std::thread::sleep(AGAIN);
            }
        }
    }
}

/// The processes of one group's folder, without its children.
pub fn processes_of(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn descend(group: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(group) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            descend(&entry.path(), found);
        }
    }
    found.push(group.to_owned());
}

/// Where cgroup hierarchies are mounted, from this process's mount table.
fn hierarchies() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut mounts: Vec<_> = table.lines().filter_map(hierarchy).collect();
    mounts.sort();
    mounts.dedup();
    mounts
}

fn hierarchy(line: &str) -> Option<PathBuf> {
    let (left, right) = line.split_once(" - ")?;
    let kind = right.split(' ').next()?;
    let place = left.split(' ').nth(4)?;
    matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchy_are_found_in_a_mount_table() {
        let v1 = "31 30 0:27 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids";
        let v2 = "32 30 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw";
        let other = "33 30 0:29 / /proc rw - proc proc rw";
        assert_eq!(hierarchy(v1), Some(PathBuf::from("/sys/fs/cgroup/pids")));
        assert_eq!(hierarchy(v2), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(hierarchy(other), None);
    }
}
