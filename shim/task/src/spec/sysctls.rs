//! Kernel parameters: only those that belong to a namespace of the container's own, as
//! all others belong to the node.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use super::Refused;

/// The parameters of the IPC namespace.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks that every parameter belongs to the container's own namespaces.
///
/// # Errors
/// The first one that does not.
pub(super) fn check(spec: &Spec) -> Result<(), Refused> {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_deref());
    let namespaces = namespaces.unwrap_or_default();
    let parameters = linux.and_then(|linux| linux.sysctl().as_ref());
    let mut names: Vec<_> = parameters.into_iter().flatten().collect();
    names.sort();
    for (name, _) in names {
        let Some(owner) = owner(name) else {
            return Err(Refused::Sysctl {
                name: name.clone(),
                why: "belongs to the node",
            });
        };
        if !is_own(namespaces, owner) {
            return Err(Refused::Sysctl {
                name: name.clone(),
                why: "belongs to the node, whose namespace the container shares",
            });
        }
    }
    Ok(())
}

/// The namespace that a parameter belongs to.
fn owner(name: &str) -> Option<LinuxNamespaceType> {
    // Either separator may be used; the first one decides.
    let dotted = match name.find(['.', '/']) {
        Some(first) if name.as_bytes()[first] == b'/' => swapped(name),
        _ => name.to_owned(),
    };
    if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        return Some(LinuxNamespaceType::Ipc);
    }
    match dotted.as_str() {
        "kernel.domainname" => Some(LinuxNamespaceType::Uts),
        net if net.starts_with("net.") => Some(LinuxNamespaceType::Network),
        _ => None,
    }
}

fn swapped(name: &str) -> String {
    let swap = |letter| match letter {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    name.chars().map(swap).collect()
}

fn is_own(namespaces: &[LinuxNamespace], owner: LinuxNamespaceType) -> bool {
    let found = namespaces.iter().find(|one| one.typ() == owner);
    let path = found.map(|one| one.path().as_deref());
    match (path, owner) {
        (None, _) => false,
        (Some(Some(path)), LinuxNamespaceType::Network) => !is_ours(path),
        _ => true,
    }
}

/// Whether a path refers to the network namespace of this process.
fn is_ours(path: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    // A namespace that cannot be inspected is refused when it is entered.
    identity(path).is_some_and(|it| Some(it) == identity(Path::new("/proc/self/ns/net")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(name: &str, namespaces: serde_json::Value) -> Result<(), String> {
        let spec = json!({
            "ociVersion": "1.2.0",
            "linux": { "sysctl": { name: "1" }, "namespaces": namespaces },
        });
        check(&serde_json::from_value(spec).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn parameters_of_own_namespaces_are_set() {
        let own = json!([{ "type": "network" }, { "type": "ipc" }, { "type": "uts" }]);
        for name in [
            "net.ipv4.ip_unprivileged_port_start",
            "net/ipv4/conf/eth0.1/forwarding",
            "kernel.shmmax",
            "fs.mqueue.msg_max",
            "kernel.domainname",
        ] {
            assert_eq!(checked(name, own.clone()), Ok(()), "{name}");
        }
    }

    #[test]
    fn parameters_of_the_node_are_refused_by_name() {
        let own = json!([{ "type": "network" }, { "type": "ipc" }]);
        for name in [
            "kernel.pid_max",
            "vm.swappiness",
            "kernel/../net",
            "kernel.domainname",
        ] {
            let refused = checked(name, own.clone()).unwrap_err();
            assert!(refused.contains(name), "{refused}");
        }
        assert!(checked("net.ipv4.ip_forward", json!([])).is_err());
        let shared = json!([{ "type": "network", "path": "/proc/self/ns/net" }]);
        assert!(checked("net.ipv4.ip_forward", shared).is_err());
    }
}
