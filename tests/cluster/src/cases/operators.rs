//! The files of `deploy/` for clusters with other operators: each is applied where the
//! operator runs, and does what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use serde_json::{Value, json};

use super::deployed::{DEPLOY, ask, for_here};
use super::installed::a_new_pod_answers;
use crate::cases;
use crate::control::NODE_NAME;
use crate::harness::Case;
use crate::images::{busybox, pack_release};
use crate::load::Load;
use crate::manifests::{SKIFF, pod, service, spec};
use crate::operators::{MANAGER, remove_runtime_class_manager};
use crate::places::CONTAINERD_CONFIG;
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

/// How long a case may take: most of it is KEDA's waiting.
const WITHIN: Duration = Duration::from_secs(1200);

/// KEDA checks every half a minute, and removes a pod a minute after its last reason.
const SCALED_WITHIN: Duration = Duration::from_secs(240);

/// The cases on a node with Skiff installed by the chart.
pub(super) fn cases() -> Vec<Case> {
    own(cases![
        keda_scales_by_the_hour_and_by_load,
        a_spin_app_runs_by_its_executor,
    ])
}

/// The case in which another installer installs it.
pub(super) fn cases_without_the_chart() -> Vec<Case> {
    own(cases![
        runtime_class_manager_installs_it_in_place_of_the_chart
    ])
}

/// Namespaces of other cases cannot be deleted while an operator's APIs are not yet
/// served.
fn own(cases: Vec<Case>) -> Vec<Case> {
    let own = |case: Case| case.alone().own().within(WITHIN);
    cases.into_iter().map(own).collect()
}

/// A file of `deploy/`.
fn file(name: &str) -> PathBuf {
    Path::new(DEPLOY).join(name)
}

async fn keda_scales_by_the_hour_and_by_load(space: Space) -> anyhow::Result<()> {
    let operators = space.cluster().own()?.addons()?.operators();
    let keda = operators.keda(&space).await?;
    let path = for_here(&space, &file("keda/scaled-object.yaml"))?;
    let path = path.display().to_string();
    let scaled = async {
        space.kubectl(&["apply", "-f", &path]).await?;
        space
            .wait_for("scaledobject/scaled", "condition=Ready")
            .await?;
        replicas(&space, "pods by the file's hours", |replicas| {
            (replicas > 0) == is_working_hour(now())
        })
        .await?;

        hours(&space, -1, 1).await?;
        replicas(&space, "a pod within its hours", |replicas| replicas == 1).await?;
        space.rolled_out("deployment/scaled", SOON).await?;
        let server = space.service("scaled").await?;
        let text = ask(server, "/").await?.text();
        ensure!(text.contains("Hello"), "{text}");
        let load = Load::full(server, "/", 4);
        let grown = replicas(&space, "more pods under load", |replicas| replicas > 1).await;
        let tally = load.end().await?;
        grown?;
        ensure!(tally.answered > 0, "{tally}");

        hours(&space, 1, 2).await?;
        replicas(&space, "no pod outside of them", |replicas| replicas == 0).await
    }
    .await;
    // KEDA has to process the deletion of its objects before the namespace can be
    // deleted.
    let gone = space.kubectl(&["delete", "-f", &path]).await.map(drop);
    scaled.and(gone).and(keda.remove().await)
}

async fn a_spin_app_runs_by_its_executor(space: Space) -> anyhow::Result<()> {
    let operators = space.cluster().own()?.addons()?.operators();
    let operator = operators.spin_operator(&space).await?;
    let executor = file("spinkube/executor.yaml").display().to_string();
    let app = for_here(&space, &file("spinkube/spinapp.yaml"))?;
    let app = app.display().to_string();
    let ran = async {
        // Its webhooks serve a moment after it is ready.
        wait_until("an executor that is taken", SOON, || async {
            let told = space.kubectl(&["apply", "-f", &executor]).await?;
            Ok(Look::at(true, told))
        })
        .await?;
        space.kubectl(&["apply", "-f", &app]).await?;
        wait_until("two replicas of the SpinApp", SOON, || async {
            let app = space.get(&["spinapp", "hello"]).await?;
            let ready = &app["status"]["readyReplicas"];
            Ok(Look::at(*ready == 2, &app["status"]))
        })
        .await?;
        for pod in space.list(&["pods"]).await? {
            let class = &pod["spec"]["runtimeClassName"];
            ensure!(*class == SKIFF, "a pod's class is {class}");
        }
        let text = ask(space.service("hello").await?, "/").await?.text();
        ensure!(text.contains("Hello"), "{text}");
        Ok(())
    }
    .await;
    // An executor is kept as long as an application exists.
    let args = ["delete", "--timeout=90s", "-f", &app, "-f", &executor];
    let gone = space.kubectl(&args).await.map(drop);
    ran.and(gone).and(operator.remove().await)
}

async fn runtime_class_manager_installs_it_in_place_of_the_chart(
    space: Space,
) -> anyhow::Result<()> {
    let cluster = space.cluster();
    let clients = cluster.clients();
    cluster.helm_uninstall_if_there().await?;
    let before = fs::read_to_string(CONTAINERD_CONFIG)?;
    let shim = shim_for_here(&space).await?.display().to_string();
    let operators = cluster.own()?.addons()?.operators();
    operators.runtime_class_manager(&space).await?;
    let node = ["label", "node", NODE_NAME];
    let installed = async {
        clients.kubectl(&["apply", "-f", &shim]).await?;
        clients
            .kubectl(&[&node[..], &["skiff=true"]].concat())
            .await?;
        wait_until("the shim on the node", SOON, || async {
            let shim = space.get(&["shim", "skiff-v1"]).await?;
            let ready = &shim["status"]["nodesReady"];
            if *ready == 1 {
                return Ok(Look::Yes(()));
            }
            let args = ["-n", MANAGER, "logs", "--all-containers", "--tail=5"];
            let jobs = ["--selector=batch.kubernetes.io/job-name", "--ignore-errors"];
            let told = clients.kubectl(&[&args[..], &jobs].concat()).await?;
            Ok(Look::NotYet(format!("{}\n{told}", shim["status"])))
        })
        .await?;
        a_new_pod_answers(&space, "hello").await
    }
    .await;
    let taken_off = async {
        clients
            .kubectl(&["delete", "--timeout=90s", "-f", &shim])
            .await?;
        wait_until("containerd's configuration as before", SOON, || async {
            let now = fs::read_to_string(CONTAINERD_CONFIG)?;
            Ok(Look::at(now == before, now))
        })
        .await?;
        let labels = ["skiff-", "skiff-v1-"];
        clients.kubectl(&[&node[..], &labels].concat()).await?;
        remove_runtime_class_manager(clients).await
    }
    .await;
    installed.and(taken_off)
}

/// The Shim object as a user of this node would write it: a pod serves its archive, and
/// the node has no systemd.
async fn shim_for_here(space: &Space) -> anyhow::Result<PathBuf> {
    const SERVER: &str = "releases";
    const IMAGE: &str = "registry.test/releases:1";
    let text = fs::read_to_string(file("spinkube/shim.yaml"))?;
    let scratch = space.cluster().scratch();
    let image = busybox()?
        .copy(&pack_release(scratch)?, "www/archive.tar.gz", 0o644)?
        .write(scratch.join(SERVER))?;
    space.cluster().registry().offer(IMAGE, image.folder());
    let serves = json!({
        "name": SERVER,
        "image": space.image(IMAGE),
        "command": ["httpd", "-f", "-p", "80", "-h", "/www"],
    });
    space
        .apply(&[pod(SERVER, spec(None, &[serves])), service(SERVER)])
        .await?;
    space
        .wait_for(&format!("pod/{SERVER}"), "condition=Ready")
        .await?;
    let server = space.service(SERVER).await?;
    let lines = text
        .lines()
        .map(|line| match line.split_once("location: ") {
            Some((indent, place)) if place.ends_with("-linux-amd64.tar.gz") => {
                format!("{indent}location: http://{server}/archive.tar.gz\n")
            }
            _ => format!("{line}\n").replace("SystemdCgroup: \"true\"", "SystemdCgroup: \"false\""),
        });
    let text: String = lines.collect();
    let here = scratch.join("shim.yaml");
    fs::write(&here, text)?;
    Ok(here)
}

/// Waits for a number of replicas.
async fn replicas(space: &Space, what: &str, holds: impl Fn(u64) -> bool) -> anyhow::Result<()> {
    wait_until(what, SCALED_WITHIN, || async {
        let found = space.get(&["deployment", "scaled"]).await?;
        let asked = found["spec"]["replicas"].as_u64();
        if asked.is_some_and(&holds) {
            return Ok(Look::Yes(()));
        }
        let object = space.get(&["scaledobject", "scaled"]).await?;
        Ok(Look::NotYet(format!("{asked:?}: {}", object["status"])))
    })
    .await
}

/// Sets the ScaledObject's hours to begin and end this many hours from now, every day.
async fn hours(space: &Space, begin: i64, end: i64) -> anyhow::Result<()> {
    let minutes = now() / 60;
    let at = |hours: i64| {
        let minute = minutes.saturating_add_signed(hours * 60);
        format!("{} {} * * *", minute % 60, minute / 60 % 24)
    };
    let set = |name: &str, value: String| json!({ "op": "replace", "path": format!("/spec/triggers/0/metadata/{name}"), "value": value });
    let patch = Value::from(vec![set("start", at(begin)), set("end", at(end))]).to_string();
    let args = [
        "patch",
        "scaledobject",
        "scaled",
        "--type=json",
        "-p",
        &patch,
    ];
    space.kubectl(&args).await.map(drop)
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Whether the file asks for a pod then: from 7 to 19 o'clock, Monday to Friday, in UTC.
fn is_working_hour(time: u64) -> bool {
    const HOUR: u64 = 3600;
    // 1970 began on a Thursday.
    let weekday = (time / (24 * HOUR) + 3) % 7;
    weekday < 5 && (7..19).contains(&(time / HOUR % 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_hours_are_those_of_the_file() {
        let text = std::fs::read_to_string(file("keda/scaled-object.yaml")).unwrap();
        for hours in ["start: 0 7 * * 1-5", "end: 0 19 * * 1-5"] {
            assert!(text.contains(hours), "{hours}");
        }
        // Friday the 27th of November 2026, 6:59:59, and the Saturday after it.
        const EARLY: u64 = 1_795_762_799;
        assert!(!is_working_hour(EARLY));
        assert!(is_working_hour(EARLY + 1));
        assert!(!is_working_hour(EARLY + 1 + 12 * 3600));
        assert!(!is_working_hour(EARLY + 1 + 24 * 3600));
    }
}
