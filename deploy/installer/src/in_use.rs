//! Which versions the node's processes still run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::{PROGRAM, SHIM};

/// The length to which the kernel cuts a process's name.
const COMM_LENGTH: usize = 15;

/// What the kernel appends to the path of a replaced program.
const DELETED: &str = " (deleted)";

/// Versions that must not be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    versions: BTreeSet<String>,
    unknown: bool,
}

impl InUse {
    /// Examines every process of the node.
    pub fn look(host: &Host, home: &str) -> Self {
        let files = files_of_versions(host, home);
        let mut found = Self::default();
        let processes = host.names_in(Path::new("/proc")).unwrap_or_default();
        let numbers = processes.iter().filter_map(|name| name.to_str());
        for number in numbers.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            found.look_at(host, home, &files, number);
        }
        found
    }

    /// Whether a version may be removed.
    pub fn is_free(&self, version: &str) -> bool {
        !self.unknown && !self.versions.contains(version)
    }

    /// Whether nothing of Skiff runs.
    pub fn is_empty(&self) -> bool {
        !self.unknown && self.versions.is_empty()
    }

    fn look_at(&mut self, host: &Host, home: &str, files: &[(String, (u64, u64))], number: &str) {
        let folder = Path::new("/proc").join(number);
        let Ok(located) = host.locate(&folder) else {
            return;
        };
        let link = located.join("exe");
        let program = match fs::read_link(&link) {
            Ok(program) => program,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                // Its name can be read without permission to inspect it.
                let comm = fs::read_to_string(located.join("comm")).unwrap_or_default();
                self.unknown |= may_be_ours(comm.trim_end());
                return;
            }
            // Kernel threads have no program, and some processes are gone by now.
            Err(_) => return,
        };
        let text = program.to_string_lossy();
        let deleted = text.strip_suffix(DELETED);
        let version = match identity(&link) {
            // A container may have its own program at any path, and in another mount
            // namespace the same file may have another path: so files are compared.
            Some(file) if deleted.is_none() => {
                let same = files.iter().find(|(_, known)| *known == file);
                same.map(|(version, _)| version.clone())
            }
            _ if has_root_of(host, &located) => {
                version_of(Path::new(deleted.unwrap_or(&text)), home)
            }
            _ => None,
        };
        self.versions.extend(version);
    }
}

/// Whether a process has the node's root folder, as far as is known.
fn has_root_of(host: &Host, process: &Path) -> bool {
    let root = identity(&process.join("root"));
    root.is_none() || root == identity(host.root())
}

/// The identity of a file or folder, whatever its path; `None` if unknown.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let data = fs::metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}

fn may_be_ours(comm: &str) -> bool {
    comm == PROGRAM || SHIM.get(..COMM_LENGTH) == Some(comm)
}

fn version_of(program: &Path, home: &str) -> Option<String> {
    let inner = program.strip_prefix(home).ok()?;
    let version = inner.components().next()?.as_os_str();
    Some(version.to_string_lossy().into_owned())
}

fn files_of_versions(host: &Host, home: &str) -> Vec<(String, (u64, u64))> {
    let program = |version: String| {
        let path = PathBuf::from(home).join(&version).join(PROGRAM);
        Some((version, identity(&host.locate(&path).ok()?)?))
    };
    versions(host, home)
        .into_iter()
        .filter_map(program)
        .collect()
}

/// The versions that are on a node: folders with the program in them. `current` is a link
/// and not one of them.
pub fn versions(host: &Host, home: &str) -> Vec<String> {
    let home = Path::new(home);
    let names = host.names_in(home).unwrap_or_default();
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    names
        .filter(|name| {
            let folder = home.join(name);
            !matches!(host.entry(&folder), Ok(crate::host::Entry::Link(_)))
                && host.exists(folder.join(PROGRAM))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn running_programs_keep_their_versions() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for version in ["1.0.0", "1.1.0", "1.2.0"] {
            let home = root.join("opt/skiff").join(version);
            fs::create_dir_all(&home).expect("made");
            fs::write(home.join("skiff"), version).expect("written");
        }
        let program = |version: &str| root.join("opt/skiff").join(version).join("skiff");
        let elsewhere = tempfile::tempdir().expect("a folder");
        let processes = [
            ("7", program("1.0.0"), root),
            ("8", "/opt/skiff/1.1.0/skiff (deleted)".into(), root),
            ("9", "/usr/bin/containerd".into(), root),
            // A container, which had its own program there.
            (
                "10",
                "/opt/skiff/1.2.0/skiff (deleted)".into(),
                elsewhere.path(),
            ),
        ];
        for (pid, exe, its_root) in processes {
            let process = root.join("proc").join(pid);
            fs::create_dir_all(&process).expect("made");
            symlink(exe, process.join("exe")).expect("linked");
            symlink(its_root, process.join("root")).expect("linked");
        }
        let host = Host::new(root);
        let found = InUse::look(&host, "/opt/skiff");
        assert!(!found.is_free("1.0.0") && !found.is_free("1.1.0"));
        assert!(found.is_free("1.2.0"));
    }
}
