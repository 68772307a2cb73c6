//! Handles what libcontainer cannot do with a container's mounts: their propagation,
//! which it leaves as on the node, and control groups of version 1, which it mounts
//! writable and finds by a process id of another process namespace.

use std::path::PathBuf;

use oci_spec::runtime::{Mount, Spec};
use serde::{Deserialize, Serialize};

/// How a mount shares, and receives, mounts below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Propagation {
    /// The mount's path in the container.
    pub(crate) destination: PathBuf,
    /// A flag of mount(2): `MS_SHARED` and so on.
    pub(crate) kind: u64,
    /// Whether it includes the mounts below.
    pub(crate) recursive: bool,
}

/// The control groups of a container, if they are mounted one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cgroups {
    /// The folder that holds them.
    pub(crate) destination: PathBuf,
    /// Whether the container may not change them.
    pub(crate) read_only: bool,
    /// How they propagate: as the root does.
    pub(crate) propagation: u64,
}

/// The propagation of each mount, in their order; the last option of a mount counts.
pub(crate) fn propagations(spec: &Spec) -> Vec<Propagation> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let seen = mounts
        .iter()
        .enumerate()
        .filter(|(index, _)| !is_covered(mounts, *index));
    let said = seen.filter_map(|(_, mount)| propagation(mount));
    // With runc, mounts in a shared root do not propagate to the node either.
    let root = (root_kind(spec) == libc::MS_SHARED).then(|| Propagation {
        destination: PathBuf::from("/"),
        kind: libc::MS_PRIVATE,
        recursive: false,
    });
    said.chain(root).collect()
}

/// How the root propagates.
fn root_kind(spec: &Spec) -> u64 {
    let linux = spec.linux().as_ref();
    match linux.and_then(|linux| linux.rootfs_propagation().as_deref()) {
        Some("shared") => libc::MS_SHARED,
        Some("private") => libc::MS_PRIVATE,
        _ => libc::MS_SLAVE,
    }
}

/// Whether a later mount covers this one, so that no path leads to it.
fn is_covered(mounts: &[Mount], index: usize) -> bool {
    let (before, after) = mounts.split_at(index + 1);
    let covered = before.last().map(Mount::destination);
    covered.is_some_and(|it| after.iter().any(|over| it.starts_with(over.destination())))
}

fn propagation(mount: &Mount) -> Option<Propagation> {
    let options = mount.options().iter().flatten();
    let mut said = options.filter_map(|option| {
        let (kind, recursive) = match option.strip_prefix('r') {
            Some(kind) => (kind, true),
            None => (option.as_str(), false),
        };
        let kind = match kind {
            "shared" => libc::MS_SHARED,
            "slave" => libc::MS_SLAVE,
            "private" => libc::MS_PRIVATE,
            "unbindable" => libc::MS_UNBINDABLE,
            _ => return None,
        };
        Some((kind, recursive))
    });
    let (kind, recursive) = said.next_back()?;
    Some(Propagation {
        destination: mount.destination().clone(),
        kind,
        recursive,
    })
}

/// Replaces control groups of version 1 with an empty in-memory folder for libcontainer.
pub(crate) fn take_cgroups(spec: &mut Spec, unified: bool) -> Option<Cgroups> {
    if unified {
        return None;
    }
    let propagation = root_kind(spec);
    let mut mounts = spec.mounts().clone()?;
    let groups = |mount: &Mount| mount.typ().as_deref() == Some("cgroup");
    let index = mounts.iter().position(groups)?;
    if is_covered(&mounts, index) {
        return None;
    }
    let mount = &mut mounts[index];
    let options = mount.options().as_deref().unwrap_or_default();
    let taken = Cgroups {
        destination: mount.destination().clone(),
        read_only: options
            .iter()
            .any(|option| option == "ro" || option == "rro"),
        propagation,
    };
    let options = ["nosuid", "noexec", "nodev", "mode=755"];
    mount
        .set_typ(Some("tmpfs".to_owned()))
        .set_source(Some("tmpfs".into()))
        .set_options(Some(options.map(ToOwned::to_owned).to_vec()));
    spec.set_mounts(Some(mounts));
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn spec(mounts: serde_json::Value) -> Spec {
        serde_json::from_value(json!({ "ociVersion": "1.2.0", "mounts": mounts })).unwrap()
    }

    #[test]
    fn the_last_word_on_propagation_counts() {
        let spec = spec(json!([
            { "destination": "/over/a", "type": "bind", "options": ["rshared"] },
            { "destination": "/over", "type": "bind", "options": [] },
            { "destination": "/a", "type": "bind", "options": ["rbind", "rprivate", "rw"] },
            { "destination": "/b", "type": "bind", "options": ["rshared", "slave"] },
            { "destination": "/c", "type": "bind", "options": ["rbind", "ro"] },
        ]));
        let taken = propagations(&spec);
        let one = |destination: &str, kind, recursive| Propagation {
            destination: destination.into(),
            kind,
            recursive,
        };
        assert_eq!(
            taken,
            [
                one("/a", libc::MS_PRIVATE, true),
                one("/b", libc::MS_SLAVE, false)
            ]
        );
    }

    #[test]
    fn control_groups_of_version_one_are_mounted_here() {
        let given = json!([{
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        }]);
        let mut unified = spec(given.clone());
        assert_eq!(take_cgroups(&mut unified, true), None);
        assert_eq!(unified, spec(given.clone()));
        let mut legacy = spec(given);
        let taken = take_cgroups(&mut legacy, false).unwrap();
        assert_eq!(taken.destination, Path::new("/sys/fs/cgroup"));
        assert!(taken.read_only);
        let mounts = legacy.mounts().as_ref().unwrap();
        assert_eq!(mounts[0].typ().as_deref(), Some("tmpfs"));
        let mut none = spec(json!([]));
        assert_eq!(take_cgroups(&mut none, false), None);
    }
}
