//! Every file of `deploy/` that needs only Kubernetes: it is applied as a user applies
//! it, becomes ready, and does what it says.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::http::Method;
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use skiff_test_support::http::{self, Protocol, Reply};

use super::pods::address;
use crate::addons::forget_policies;
use crate::cases;
use crate::harness::Case;
use crate::images::BUSYBOX;
use crate::manifests::{pod, spec};
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

/// The folder of the files, relative to this crate.
pub(super) const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

/// The folders whose files are tested here. Those of `keda` and `spinkube` are for
/// clusters with operators.
const FOLDERS: [&str; 3] = ["samples", "deployments", "workloads"];

/// Files that need something that not every cluster has and that the run can only start
/// on its own node: a volume, an enforcer of NetworkPolicies, an Ingress controller.
const NODE_NEEDED: [&str; 3] = ["volume-claim", "network-policy", "ingress"];

/// The signature in the guestbooks of these cases.
const ENTRY: &str = "Ada was here";

/// The end of a report on two files of three lines.
const REPORT: &str = "2 files, 3 lines, 45 bytes";

/// One case for each file. A folder that cannot be read is a case that fails.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = cases![all_of_it_becomes_ready_at_once];
    cases = cases.into_iter().map(Case::own).collect();
    for folder in FOLDERS {
        for file in files(folder) {
            let stem = file.file_stem().and_then(|stem| stem.to_str());
            let stem = stem.unwrap_or_default().to_owned();
            let name = format!("deployed::{folder}::{}", stem.replace('-', "_"));
            let of_the_node = NODE_NEEDED.contains(&stem.as_str());
            // The enforcer of policies affects every pod of the node.
            let alone = stem == "network-policy";
            let mut case = Case::new(&name, move |space| {
                does_what_it_says(space, folder, stem.clone(), file.clone())
            });
            if of_the_node {
                case = case.own();
            }
            if alone {
                case = case.alone();
            }
            cases.push(case);
        }
    }
    cases
}

fn files(folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(Path::new(DEPLOY).join(folder)) else {
        return vec![PathBuf::from(format!("{folder}/missing"))];
    };
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .filter(|path| !path.ends_with("kustomization.yaml"))
        .collect();
    files.sort();
    files
}

async fn does_what_it_says(
    space: Space,
    folder: &str,
    stem: String,
    file: PathBuf,
) -> anyhow::Result<()> {
    if stem == "volume-claim" {
        offer_volume(&space).await?;
    }
    let path = for_here(&space, &file)?.display().to_string();
    let path = ["-f", path.as_str()];
    space.kubectl(&[&["apply"][..], &path].concat()).await?;
    ready(&space, path).await?;
    match (folder, stem.as_str()) {
        (_, "report" | "job") => tells(&space, &stem).await,
        (_, "cronjob") => {
            let from = "--from=cronjob/report-often";
            space
                .kubectl(&["create", "job", from, "report-now"])
                .await?;
            space
                .wait_for("job/report-now", "condition=Complete")
                .await?;
            let log = space.kubectl(&["logs", "job/report-now"]).await?;
            ensure!(log.trim_end().ends_with(REPORT), "{log}");
            Ok(())
        }
        ("samples", sample) => {
            let pod = space.get(&["pod", sample]).await?;
            answers(sample, address(&pod, 80)?).await
        }
        ("deployments", sample) => answers(sample, space.service(sample).await?).await,
        (_, workload) => works(&space, workload).await,
    }
}

/// The file, or a copy with this cluster's image references.
pub(super) fn for_here(space: &Space, file: &Path) -> anyhow::Result<PathBuf> {
    const IMAGE: &str = "image: ";
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let named = text.lines().map(|line| match line.split_once(IMAGE) {
        Some((before, image)) => format!("{before}{IMAGE}{}\n", space.image(image)),
        None => format!("{line}\n"),
    });
    let named: String = named.collect();
    if named == text {
        return Ok(file.to_owned());
    }
    let copy = space.cluster().scratch().join(space.name());
    fs::write(&copy, named).with_context(|| format!("writing {}", copy.display()))?;
    Ok(copy)
}

async fn all_of_it_becomes_ready_at_once(space: Space) -> anyhow::Result<()> {
    offer_volume(&space).await?;
    space.kubectl(&["apply", "-k", DEPLOY]).await?;
    ready(&space, ["-k", DEPLOY]).await
}

/// Waits for everything in a file (`-f`) or folder (`-k`) that can become ready.
async fn ready(space: &Space, path: [&str; 2]) -> anyhow::Result<()> {
    let objects = space.get(&path).await?;
    let one = [objects.clone()];
    let items = objects["items"].as_array().map_or(&one[..], Vec::as_slice);
    for item in items {
        let name = item["metadata"]["name"].as_str().unwrap_or_default();
        match item["kind"].as_str().unwrap_or_default() {
            "Deployment" => {
                space
                    .rolled_out(&format!("deployment/{name}"), SOON)
                    .await?
            }
            "Job" => {
                space
                    .wait_for(&format!("job/{name}"), "condition=Complete")
                    .await?;
            }
            "Pod" => {
                space
                    .pod_until(name, "a pod that is ready or done", |pod| {
                        let conditions = pod["status"]["conditions"].as_array();
                        let is_ready = |condition: &Value| {
                            condition["type"] == "Ready" && condition["status"] == "True"
                        };
                        pod["status"]["phase"] == "Succeeded"
                            || conditions.is_some_and(|all| all.iter().any(is_ready))
                    })
                    .await?;
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) async fn ask(server: SocketAddr, path: &str) -> anyhow::Result<Reply> {
    let url = format!("http://{server}{path}");
    // kube-proxy may learn of the pods a moment later.
    http::get_until_ok(&url, SOON).await.with_context(|| url)
}

/// Checks what each sample's README says.
async fn answers(sample: &str, server: SocketAddr) -> anyhow::Result<()> {
    let reply = ask(server, "/").await?;
    let text = reply.text();
    let words = match sample {
        "hello-js" => "Hello from JavaScript",
        "hello-python" => "Hello from Python",
        "hello-rust" => "Hello",
        "hello-wasi" => "Hello from WASI",
        "static-site" => "<html",
        "guestbook" => return signs(server, "Welcome").await,
        _ => bail!("no check for the sample {sample}"),
    };
    ensure!(
        reply.status == 200 && text.contains(words),
        "{} {text}",
        reply.status
    );
    Ok(())
}

/// Signs a guestbook and reads it again.
async fn signs(server: SocketAddr, greeting: &str) -> anyhow::Result<()> {
    let url = format!("http://{server}/");
    ask(server, "/").await?;
    let posted = http::send(Protocol::One, Method::POST, &url, &[], ENTRY).await?;
    ensure!(posted.status.is_success(), "POST: {}", posted.status);
    let text = ask(server, "/").await?.text();
    ensure!(text.contains(greeting) && text.contains(ENTRY), "{text}");
    Ok(())
}

/// Waits for a text in a command's log.
async fn tells(space: &Space, stem: &str) -> anyhow::Result<()> {
    let (source, words) = match stem {
        "job" => ("job/report", REPORT),
        _ => ("pod/report", "0 files"),
    };
    wait_until("its log", SOON, || async {
        let log = space.kubectl(&["logs", source]).await?;
        Ok(Look::at(log.contains(words), log))
    })
    .await
}

/// Checks what each file of `workloads` says at its top.
async fn works(space: &Space, workload: &str) -> anyhow::Result<()> {
    let server = space.service(workload).await?;
    let text = ask(server, "/").await?.text();
    match workload {
        "autoscaling" => {
            let scaler = space.get(&["hpa", workload]).await?;
            ensure!(scaler["spec"]["minReplicas"] == 2, "{scaler}");
        }
        "disruption-budget" => {
            wait_until("a budget of one", SOON, || async {
                let budget = space.get(&["pdb", workload]).await?;
                let allowed = &budget["status"]["disruptionsAllowed"];
                Ok(Look::at(*allowed == 1, &budget["status"]))
            })
            .await?;
        }
        "ingress" => is_reached_by_its_name(space).await?,
        "network-policy" => is_reached_by_its_clients_only(space).await?,
        "probes" => ensure!(text.contains("Hello"), "{text}"),
        "sidecar" => {
            wait_until("the sidecar's log", SOON, || async {
                let log = space
                    .kubectl(&["logs", "deployment/sidecar", "-c", "asks"])
                    .await?;
                Ok(Look::at(log.contains("Hello from WASI"), log))
            })
            .await?;
        }
        "init-container" => {
            let report = ask(server, "/report").await?.text();
            ensure!(report.trim_end().ends_with(REPORT), "{report}");
        }
        "variables" => ensure!(text.contains("Hello from a ConfigMap"), "{text}"),
        "volume-empty-dir" => signs(server, "Welcome").await?,
        "volume-claim" => {
            signs(server, "Welcome").await?;
            let workload = "deployment/volume-claim";
            space.kubectl(&["rollout", "restart", workload]).await?;
            space.rolled_out(workload, SOON).await?;
            let text = ask(server, "/").await?.text();
            ensure!(text.contains(ENTRY), "after a new pod: {text}");
        }
        _ => bail!("no check for the workload {workload}"),
    }
    Ok(())
}

/// Sends requests to an Ingress controller under the Ingress's name, and under another
/// one.
async fn is_reached_by_its_name(space: &Space) -> anyhow::Result<()> {
    let operators = space.cluster().own()?.addons()?.operators();
    let controller = operators.ingress_controller(space).await?;
    let url = format!("http://{controller}/");
    let under = async |host: &str| {
        let headers = [("host", host)];
        http::send(Protocol::One, Method::GET, &url, &headers, "").await
    };
    wait_until("the application under its name", SOON, || async {
        let reply = under("skiff.example.com").await?;
        let found = reply.status == 200 && reply.text().contains("<html");
        Ok(Look::at(found, reply.text()))
    })
    .await?;
    let other = under("another.example.com").await?;
    ensure!(other.status == 404, "under another name: {}", other.status);
    Ok(())
}

/// Sends requests continuously, from a pod that may and from one that may not.
async fn is_reached_by_its_clients_only(space: &Space) -> anyhow::Result<()> {
    const ASKS: &str = "while sleep 1; do \
        wget -q -O - http://network-policy/ 2> /dev/null || echo no answer; done";
    let keeper = space.cluster().own()?.policy_keeper()?;
    let asks = json!({ "name": "asks", "image": BUSYBOX, "command": ["sh", "-c", ASKS] });
    let mut client = pod("client", spec(None, std::slice::from_ref(&asks)));
    client["metadata"]["labels"]["network-policy/client"] = "true".into();
    space
        .apply(&[client, pod("other", spec(None, &[asks]))])
        .await?;
    let kept = async {
        wait_until("a client that is refused", SOON, || async {
            let log = space.kubectl(&["logs", "other", "--tail=3"]).await?;
            Ok(Look::at(log.matches("no answer").count() == 3, log))
        })
        .await?;
        wait_until("a client that is answered", SOON, || async {
            let log = space.kubectl(&["logs", "client", "--tail=3"]).await?;
            Ok(Look::at(log.matches("Hello from WASI").count() == 3, log))
        })
        .await?;
        let log = space.kubectl(&["logs", "other", "--tail=3"]).await?;
        ensure!(!log.contains("Hello"), "the other is answered too: {log}");
        // Probes come from the node, and pass.
        let workload = "deployment/network-policy";
        space.wait_for(workload, "condition=Available").await
    }
    .await;
    let kept = kept.with_context(|| keeper.last_words());
    drop(keeper);
    kept.and(forget_policies())
}

/// A volume for claims, as a provisioner would make it.
async fn offer_volume(space: &Space) -> anyhow::Result<()> {
    let volumes = space.cluster().own()?.scope().folder().join("volumes");
    let folder = volumes.join(space.name());
    fs::create_dir_all(&folder)?;
    // A provisioner gives its content to the pod's group.
    rustix::fs::chown(&folder, None, Some(rustix::fs::Gid::from_raw(65532)))?;
    rustix::fs::chmod(&folder, rustix::fs::Mode::from_raw_mode(0o2775))?;
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": space.name() },
        "spec": {
            "capacity": { "storage": "64Mi" },
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": { "path": folder },
        },
    });
    space.apply(&[volume]).await
}
