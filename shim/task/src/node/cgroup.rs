//! The node's control groups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

/// Where the kernel's control groups are mounted, those of version 2 or of each
/// controller.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// The kernel's magic number of the version 2 file system.
const CGROUP2: i64 = 0x6367_7270;

/// Whether the node uses only control groups of version 2.
pub(crate) fn is_unified() -> bool {
    #[allow(clippy::unnecessary_cast)] // Its type is another on other machines.
    statfs(ROOT).is_ok_and(|found| found.f_type as i64 == CGROUP2)
}

/// The version 2 group of a process, if the node has no other version.
pub(crate) fn unified_of(pid: i32) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    is_unified().then(|| Path::new(ROOT).join(path.trim_start_matches('/')))
}

/// One hierarchy of control groups of version 1, as the container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its folder's name.
    pub(crate) name: String,
    /// Further names, if it combines several controllers.
    pub(crate) aliases: Vec<String>,
    /// Its controllers, as the kernel names them.
    pub(crate) controllers: Vec<String>,
    /// The container's group on the node.
    pub(crate) path: PathBuf,
}

/// The version 1 groups of a process.
///
/// # Errors
/// If the kernel does not report them.
pub(crate) fn hierarchies_of(pid: i32) -> io::Result<Vec<Hierarchy>> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(hierarchies(&groups, &mounts))
}

/// Reads `/proc/<pid>/cgroup` and `/proc/self/mountinfo`.
fn hierarchies(groups: &str, mounts: &str) -> Vec<Hierarchy> {
    let group = |controllers: &[&str]| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (names, path) = (parts.next()?, parts.next()?);
            let same =
                !names.is_empty() && names.split(',').all(|name| controllers.contains(&name));
            same.then_some(path)
        })
    };
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((place, kind)) = line.split_once(" - ") else {
            continue;
        };
        let mut kind = kind.split(' ');
        let (Some("cgroup"), Some(options)) = (kind.next(), kind.nth(1)) else {
            continue;
        };
        let mut place = place.split(' ').skip(3);
        let (Some(root), Some(point)) = (place.next(), place.next()) else {
            continue;
        };
        let controllers: Vec<_> = options.split(',').collect();
        let point = Path::new(point);
        let name = point.file_name().and_then(|name| name.to_str());
        let (Some(path), Some(name)) = (group(&controllers), name) else {
            continue;
        };
        // If the node is itself a container, only a part of the hierarchy is mounted.
        let below = Path::new(path)
            .strip_prefix(root)
            .unwrap_or(Path::new(path));
        let below = below.strip_prefix("/").unwrap_or(below);
        let has = |name: &&str| {
            groups.lines().any(|line| {
                line.split(':')
                    .nth(1)
                    .is_some_and(|names| names.split(',').any(|one| one == *name))
            })
        };
        let used = controllers.iter().filter(|name| has(name));
        if found.iter().any(|known| known.name == name) {
            continue;
        }
        let aliases = name.split(',').filter(|_| name.contains(','));
        found.push(Hierarchy {
            name: name.to_owned(),
            aliases: aliases.map(ToOwned::to_owned).collect(),
            controllers: used.map(ToString::to_string).collect(),
            path: point.join(below),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_group_of_each_hierarchy_is_found() {
        let groups = "12:name=systemd:/pods/one\n4:cpu,cpuacct:/pods/one\n3:memory:/pods/one\n\
                      1:hugetlb:/other\n0::/unified\n";
        let mounts = "\
30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 /pods /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/unified rw shared:13 - cgroup2 cgroup2 rw
35 30 0:31 / /sys/fs/cgroup/freezer rw shared:14 - cgroup cgroup rw,freezer
36 30 0:29 /pods /elsewhere/memory rw shared:12 - cgroup cgroup rw,memory
nonsense
";
        let one = |name: &str, aliases: &[&str], controllers: &[&str], path: &str| Hierarchy {
            name: name.to_owned(),
            aliases: aliases.iter().map(ToString::to_string).collect(),
            controllers: controllers.iter().map(ToString::to_string).collect(),
            path: path.into(),
        };
        assert_eq!(
            hierarchies(groups, mounts),
            [
                one(
                    "systemd",
                    &[],
                    &["name=systemd"],
                    "/sys/fs/cgroup/systemd/pods/one"
                ),
                one(
                    "cpu,cpuacct",
                    &["cpu", "cpuacct"],
                    &["cpu", "cpuacct"],
                    "/sys/fs/cgroup/cpu,cpuacct/pods/one"
                ),
                one("memory", &[], &["memory"], "/sys/fs/cgroup/memory/one"),
            ]
        );
    }
}
