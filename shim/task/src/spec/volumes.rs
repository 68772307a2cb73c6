//! What a container's mounts show: the pod's volumes and the termination message.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};

use crate::application::Volume;

/// Mounts that make a Linux container usable but are not volumes of the pod. Each
/// includes everything below it.
const NO_VOLUMES: [&str; 8] = [
    "/dev",
    "/proc",
    "/sys",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    // Where the kubelet and webhooks put tokens: of the API server, of clouds, of a mesh.
    // Applications do not need them, and cannot leak what they cannot read.
    "/var/run/secrets",
    "/run/secrets",
];

/// Kubernetes' default place for the termination message.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The folders among the pod's volumes that an application may use.
pub(crate) fn volumes(spec: &Spec) -> Vec<Volume> {
    binds(spec)
        .filter(|(mount, _)| is_volume(mount.destination()))
        .filter(|(_, source)| source.is_dir())
        .map(|(mount, _)| Volume {
            path: mount.destination().clone(),
            writable: !options(mount).any(|option| option == "ro" || option == "rro"),
        })
        .collect()
}

fn is_volume(destination: &Path) -> bool {
    let plain = destination
        .components()
        .skip(1)
        .all(|part| matches!(part, Component::Normal(_)));
    destination.is_absolute()
        && plain
        && destination != Path::new("/")
        && !NO_VOLUMES.iter().any(|no| destination.starts_with(no))
}

/// Every bind mount with its source on the node, in mount order.
pub(crate) fn binds(spec: &Spec) -> impl Iterator<Item = (&Mount, &PathBuf)> {
    let mounts = spec.mounts().as_deref().unwrap_or_default().iter();
    mounts.filter_map(|mount| {
        let bind = mount.typ().as_deref() == Some("bind")
            || options(mount).any(|option| option == "bind" || option == "rbind");
        Some((mount, mount.source().as_ref().filter(|_| bind)?))
    })
}

fn options(mount: &Mount) -> impl Iterator<Item = &str> {
    let options = mount.options().as_deref().unwrap_or_default();
    options.iter().map(String::as_str)
}

/// The file whose content becomes the container's termination message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TerminationLog {
    /// Its path in the container.
    pub(crate) inside: PathBuf,
    /// Its path on the node.
    pub(crate) host: PathBuf,
}

/// A pod may choose another path than the default, which containerd does not report. The
/// file is then recognised by the place where kubelet creates it.
pub(crate) fn termination_log(spec: &Spec) -> Option<TerminationLog> {
    let by_default =
        |(mount, _): &(&Mount, &PathBuf)| mount.destination() == Path::new(TERMINATION_LOG);
    let by_source = |(_, source): &(&Mount, &PathBuf)| is_kubelets_file(source);
    let (mount, source) = binds(spec)
        .find(by_default)
        .or_else(|| binds(spec).find(by_source))?;
    Some(TerminationLog {
        inside: mount.destination().clone(),
        host: source.clone(),
    })
}

/// `…/pods/<uid>/containers/<name>/<8 hexadecimal digits>`.
fn is_kubelets_file(path: &Path) -> bool {
    let names: Vec<_> = path.iter().rev().take(5).collect();
    let [file, _, containers, _, pods] = names.as_slice() else {
        return false;
    };
    let digits = file.as_encoded_bytes();
    *containers == "containers"
        && *pods == "pods"
        && digits.len() == 8
        && digits.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{MountBuilder, SpecBuilder};

    fn bind(source: &str, destination: &str, options: &[&str]) -> Mount {
        MountBuilder::default()
            .source(source)
            .destination(destination)
            .typ("bind")
            .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
            .build()
            .unwrap()
    }

    fn spec(mounts: Vec<Mount>) -> Spec {
        SpecBuilder::default().mounts(mounts).build().unwrap()
    }

    #[test]
    fn applications_get_the_volumes_of_the_pod_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let (folder, file) = (folder.path().to_str().unwrap(), file.to_str().unwrap());
        let tmpfs = MountBuilder::default()
            .source("tmpfs")
            .destination("/tmp")
            .typ("tmpfs")
            .build()
            .unwrap();
        let spec = spec(vec![
            bind(folder, "/data", &["rbind", "rw"]),
            bind(folder, "/config", &["rbind", "ro"]),
            bind(folder, "/strict", &["rbind", "rro"]),
            bind(file, "/etc/app.conf", &["rbind"]),
            bind(file, "/etc/hosts", &["rbind"]),
            bind(folder, "/dev/shm", &["rbind"]),
            bind(folder, "/devices", &["rbind"]),
            bind(folder, "/data/../etc", &["rbind"]),
            bind(folder, "/", &["rbind"]),
            bind(
                folder,
                "/var/run/secrets/kubernetes.io/serviceaccount",
                &["rbind", "ro"],
            ),
            bind(folder, "/var/run/secrets/azure/tokens", &["rbind", "ro"]),
            bind(folder, "/run/secrets/tokens", &["rbind", "ro"]),
            bind(folder, "/var/run/secretsauce", &["rbind", "ro"]),
            bind("/does/not/exist", "/missing", &["rbind"]),
            tmpfs,
        ]);
        let seen: Vec<_> = volumes(&spec)
            .into_iter()
            .map(|mount| (mount.path.to_str().unwrap().to_owned(), mount.writable))
            .collect();
        let expected = [
            ("/data", true),
            ("/config", false),
            ("/strict", false),
            ("/devices", true),
            ("/var/run/secretsauce", false),
        ];
        assert_eq!(
            seen,
            expected.map(|(path, writable)| (path.to_owned(), writable))
        );
    }

    #[test]
    fn the_termination_message_is_found_at_its_default_path() {
        let spec = spec(vec![
            bind("/a", "/data", &[]),
            bind("/kubelet/file", "/dev/termination-log", &["rbind", "rw"]),
        ]);
        let log = termination_log(&spec).unwrap();
        assert_eq!(log.host, Path::new("/kubelet/file"));
        assert_eq!(log.inside, Path::new("/dev/termination-log"));
    }

    #[test]
    fn the_termination_message_is_found_where_kubelet_makes_it() {
        let host = "/var/lib/kubelet/pods/6f0c/containers/web/0a1b2c3d";
        let own = bind(host, "/my/message", &["rbind", "rw"]);
        let volume = bind("/var/lib/kubelet/pods/6f0c/volumes/x/data", "/data", &[]);
        let log = termination_log(&spec(vec![volume.clone(), own])).unwrap();
        assert_eq!(log.inside, Path::new("/my/message"));
        assert_eq!(termination_log(&spec(vec![volume])), None);
    }
}
