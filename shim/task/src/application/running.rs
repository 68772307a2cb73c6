//! Applications that run on this node, found through their bundles.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use serde_json::Value;

use super::Plan;
use crate::container::{PLAN, STATE};

/// Where containerd of the usual distributions keeps bundles, by containerd's namespace.
const BUNDLES: [&str; 3] = [
    "/run/containerd/io.containerd.runtime.v2.task",
    "/run/k3s/containerd/io.containerd.runtime.v2.task",
    "/run/k0s/containerd/io.containerd.runtime.v2.task",
];

/// The annotations of a container with the name of its pod and its own.
const POD_NAME: &str = "io.kubernetes.cri.sandbox-name";
const CONTAINER_NAME: &str = "io.kubernetes.cri.container-name";

/// The annotation with the Kubernetes namespace of a container's pod.
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";

/// An application in a container of a pod.
#[derive(Debug)]
pub struct Running {
    /// The container's name in the pod.
    pub container: String,
    /// What it was started with.
    pub plan: Plan,
    /// The process id of the container's first process, if it has one.
    pub pid: Option<u32>,
}

/// The applications in the containers of a pod. `bundles` is containerd's folder of bundles;
/// `None` means those of the usual distributions.
///
/// # Errors
/// If bundles cannot be read; only root may.
pub fn of_pod(bundles: Option<&Path>, namespace: &str, name: &str) -> anyhow::Result<Vec<Running>> {
    let folders = match bundles {
        Some(folder) => vec![folder.to_owned()],
        None => BUNDLES.iter().map(PathBuf::from).collect(),
    };
    let mut found = Vec::new();
    for folder in folders {
        for namespaces in entries(&folder)? {
            for bundle in entries(&namespaces)? {
                found.extend(application(&bundle, namespace, name)?);
            }
        }
    }
    found.sort_by(|one, other| one.container.cmp(&other.container));
    Ok(found)
}

/// What is in a folder; nothing if there is no such folder any more.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        read => read?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// Whether something is not there: containers end while they are looked for.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The application of a bundle, if it has one and belongs to that pod.
fn application(bundle: &Path, namespace: &str, name: &str) -> anyhow::Result<Option<Running>> {
    let plan = match fs::read(bundle.join(PLAN)) {
        Err(error) if is_gone(&error) => return Ok(None),
        plan => plan?,
    };
    let Ok(spec) = Spec::load(bundle.join("config.json")) else {
        return Ok(None);
    };
    let annotation = |key: &str| spec.annotations().as_ref()?.get(key).cloned();
    if annotation(POD_NAMESPACE).as_deref() != Some(namespace)
        || annotation(POD_NAME).as_deref() != Some(name)
    {
        return Ok(None);
    }
    Ok(Some(Running {
        container: annotation(CONTAINER_NAME).unwrap_or_default(),
        plan: serde_json::from_slice(&plan)?,
        pid: pid(bundle),
    }))
}

/// The container's first process, from libcontainer's record.
fn pid(bundle: &Path) -> Option<u32> {
    let id = bundle.file_name()?;
    let state = fs::read(bundle.join(STATE).join(id).join("state.json")).ok()?;
    let state: Value = serde_json::from_slice(&state).ok()?;
    u32::try_from(state.get("pid")?.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_application_is_found_by_its_pod() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = |id: &str, pod: &str, plan: bool| {
            let bundle = folder.path().join("k8s.io").join(id);
            fs::create_dir_all(bundle.join(STATE).join(id)).unwrap();
            let config = json!({
                "ociVersion": "1.0.2",
                "annotations": { POD_NAMESPACE: "shop", POD_NAME: pod, CONTAINER_NAME: id },
            });
            fs::write(bundle.join("config.json"), config.to_string()).unwrap();
            let state = bundle.join(STATE).join(id).join("state.json");
            fs::write(state, json!({ "pid": 4321 }).to_string()).unwrap();
            if plan {
                let plan = json!({
                    "application": { "of": id }, "folders": 0, "volumes": [], "args": [],
                    "termination_message": null,
                });
                fs::write(bundle.join(PLAN), plan.to_string()).unwrap();
            }
        };
        bundle("web", "cart", true);
        bundle("linux", "cart", false);
        bundle("other", "pay", true);
        let found = of_pod(Some(folder.path()), "shop", "cart").unwrap();
        let [web] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((web.container.as_str(), web.pid), ("web", Some(4321)));
        assert_eq!(web.plan.application, json!({ "of": "web" }));
        assert!(
            of_pod(Some(folder.path()), "default", "cart")
                .unwrap()
                .is_empty()
        );
        let nowhere = folder.path().join("nowhere");
        assert!(of_pod(Some(&nowhere), "shop", "cart").unwrap().is_empty());
    }
}
