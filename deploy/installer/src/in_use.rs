//! Which versions processes of the node still run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::{PROGRAM, SHIM};

/// As much of a process's name as the kernel keeps.
const COMM_LENGTH: usize = 15;

/// What the kernel writes behind the path of a program that was replaced.
const DELETED: &str = " (deleted)";

/// Versions that must stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    versions: BTreeSet<String>,
    unknown: bool,
}

impl InUse {
    /// Looks at every process of the node.
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

    /// Whether a version may be taken away.
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
        let program = match fs::read_link(located.join("exe")) {
            Ok(program) => program,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                // Its name may be read without the right to look into it.
                let comm = fs::read_to_string(located.join("comm")).unwrap_or_default();
                self.unknown |= may_be_ours(comm.trim_end());
                return;
            }
            // Kernel threads have no program, and some processes are gone by now.
            Err(_) => return,
        };
        let text = program.to_string_lossy();
        let path = Path::new(text.strip_suffix(DELETED).unwrap_or(&text));
        if let Some(version) = version_of(path, home) {
            self.versions.insert(version);
        }
        // In another mount namespace the same file may go by another path.
        if let Ok(data) = fs::metadata(located.join("exe")) {
            let same = files
                .iter()
                .find(|(_, file)| *file == (data.dev(), data.ino()));
            self.versions
                .extend(same.map(|(version, _)| version.clone()));
        }
    }
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
    let identity = |version: String| {
        let program = host
            .locate(&PathBuf::from(home).join(&version).join(PROGRAM))
            .ok()?;
        let data = fs::metadata(program).ok()?;
        Some((version, (data.dev(), data.ino())))
    };
    versions(host, home)
        .into_iter()
        .filter_map(identity)
        .collect()
}

/// The versions that are on a node: folders with the program in them. `current`
/// is a link and none of them.
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
        for (pid, target) in [
            ("7", "/opt/skiff/1.0.0/skiff".to_owned()),
            ("8", "/opt/skiff/1.1.0/skiff (deleted)".to_owned()),
            ("9", "/usr/bin/containerd".to_owned()),
        ] {
            fs::create_dir_all(root.join("proc").join(pid)).expect("made");
            symlink(target, root.join("proc").join(pid).join("exe")).expect("linked");
        }
        let host = Host::new(root);
        let found = InUse::look(&host, "/opt/skiff");
        assert!(!found.is_free("1.0.0") && !found.is_free("1.1.0"));
        assert!(found.is_free("1.2.0"));
        // The same file by another path.
        let link = root.join("proc/9/exe");
        fs::remove_file(&link).expect("removed");
        symlink(root.join("opt/skiff/1.2.0/skiff"), &link).expect("linked");
        assert!(!InUse::look(&host, "/opt/skiff").is_free("1.2.0"));
    }
}
