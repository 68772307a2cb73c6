//! The life of an installation: Helm installs, upgrades, rolls back and uninstalls it.
//! These cases come last, in this order.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use skiff_test_support::{http, pages};

use super::pods::address;
use crate::cases;
use crate::control::NODE_NAME;
use crate::harness::Case;
use crate::images::{BROKEN, NEXT, program};
use crate::install::{NAMESPACE, RUNTIME_CLASS};
use crate::load::Load;
use crate::manifests::{SKIFF, deployment, pod, service, spec, wasm};
use crate::node::{by_hand_file, no_handler_by_hand};
use crate::places::write;
use crate::program::Program;
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = cases![helm_test_passes]
        .into_iter()
        .map(Case::short)
        .collect();
    let of_the_node = cases![
        an_installer_may_change_no_node_but_its_own,
        an_upgrade_under_load_loses_no_request,
        a_broken_version_leaves_the_one_before_in_use,
    ];
    cases.extend(of_the_node.into_iter().map(Case::own));
    cases.extend(cases![uninstall_is_refused_while_pods_use_the_runtime]);
    let forced = cases![a_forced_uninstall_leaves_running_pods_their_program];
    cases.extend(forced.into_iter().map(Case::own));
    let last = cases![uninstall_leaves_the_files_of_the_node_as_they_were];
    cases.extend(last.into_iter().map(|case| case.short().own()));
    let after = cases![a_node_is_set_up_by_hand_as_its_page_says];
    cases.extend(after.into_iter().map(|case| case.short().own()));
    cases.into_iter().map(Case::alone).collect()
}

async fn helm_test_passes(space: Space) -> anyhow::Result<()> {
    let clients = space.cluster().clients();
    let args = ["test", "skiff", "--namespace", NAMESPACE, "--timeout", "3m"];
    let told = clients.helm(&args).await?;
    ensure!(told.contains("Succeeded"), "{told}");
    Ok(())
}

async fn an_installer_may_change_no_node_but_its_own(space: Space) -> anyhow::Result<()> {
    let clients = space.cluster().clients();
    let view = ["config", "view", "--raw", "--flatten"];
    let mut config = clients.json(&view).await?;
    let file = space.cluster().scratch().join("installer.kubeconfig");
    let file = file.to_str().context("a path in UTF-8")?;
    // The server derives the node from the pod of a token. These stand for a token of a
    // pod on our node, on another node, and on none.
    for (nodes, allowed) in [
        (json!([NODE_NAME]), true),
        (json!(["another"]), false),
        (json!([]), false),
    ] {
        let user = &mut config["users"][0]["user"];
        user["as"] = json!(format!("system:serviceaccount:{NAMESPACE}:skiff"));
        user["as-user-extra"] = json!({"authentication.kubernetes.io/node-name": nodes});
        fs::write(file, config.to_string())?;
        let label = ["label", "node", NODE_NAME, "skiff.dev/probe=true"];
        let as_it = ["--dry-run=server", "--kubeconfig", file];
        let done = clients.kubectl(&[&label[..], &as_it].concat()).await;
        match done {
            Ok(_) => ensure!(allowed, "an installer on {nodes} may"),
            Err(error) => {
                let told = format!("{error:#}");
                let denied = told.contains("may only change its own node");
                ensure!(
                    !allowed && denied,
                    "an installer on {nodes} may not: {told}"
                );
            }
        }
    }
    Ok(())
}

/// The version that the node is labelled with.
async fn labelled(space: &Space) -> anyhow::Result<String> {
    let node = space.get(&["node", NODE_NAME]).await?;
    let label = &node["metadata"]["labels"]["skiff.dev/version"];
    Ok(label.as_str().unwrap_or("none").to_owned())
}

/// Starts a new pod, sends it a request, and removes it.
pub(super) async fn a_new_pod_answers(space: &Space, name: &str) -> anyhow::Result<()> {
    let image = space.guest("hello")?;
    let spec = spec(Some(SKIFF), &[wasm("app", &image)]);
    space.apply(&[pod(name, spec)]).await?;
    let object = format!("pod/{name}");
    space.wait_for(&object, "condition=Ready").await?;
    let found = space.get(&["pod", name]).await?;
    let url = format!("http://{}/", address(&found, 80)?);
    assert_eq!(http::get(&url).await?.text(), "Hello from Wasm\n");
    space.kubectl(&["delete", &object]).await.map(drop)
}

async fn an_upgrade_under_load_loses_no_request(space: Space) -> anyhow::Result<Vec<String>> {
    let image = space.guest("hello")?;
    let spec = spec(Some(SKIFF), &[wasm("app", &image)]);
    space
        .apply(&[deployment("web", 3, spec), service("web")])
        .await?;
    space.rolled_out("deployment/web", SOON).await?;
    let address = space.service("web").await?;
    http::get_until_ok(&format!("http://{address}/"), SOON).await?;
    let load = Load::steady(address, "/");
    let upgraded = async {
        let next = format!("image.tag={NEXT}");
        space.cluster().helm_upgrade(&next, true).await?;
        let version = labelled(&space).await?;
        ensure!(version == NEXT, "the node is labelled {version}");
        // Older pods keep running; these are of the new version.
        space
            .kubectl(&["rollout", "restart", "deployment/web"])
            .await?;
        space.rolled_out("deployment/web", SOON).await
    }
    .await;
    let tally = load.end().await?;
    upgraded?;
    ensure!(tally.losses() == 0, "{tally}");
    Ok(vec![tally.to_string()])
}

async fn a_broken_version_leaves_the_one_before_in_use(space: Space) -> anyhow::Result<()> {
    const TOLD_WITHIN: Duration = Duration::from_secs(180);
    let before = labelled(&space).await?;
    let cluster = space.cluster();
    let broken = format!("image.tag={BROKEN}");
    cluster.helm_upgrade(&broken, false).await?;
    let looks = "involvedObject.kind=Node,reason=SkiffNotReady";
    let reason = wait_until("an event on the node", TOLD_WITHIN, || async {
        let args = ["get", "events", "-n", "default", "--field-selector", looks];
        let events = cluster.clients().json(&args).await?;
        let message = events["items"][0]["message"].as_str();
        Ok(match message {
            Some(message) => Look::Yes(message.to_owned()),
            None => Look::NotYet(events["items"].to_string()),
        })
    })
    .await?;
    ensure!(!reason.is_empty(), "it has no reason");
    let version = labelled(&space).await?;
    ensure!(version == before, "the node is labelled {version}");
    a_new_pod_answers(&space, "after").await?;
    let args = ["get", "pods", "-n", NAMESPACE];
    let pods = cluster.clients().json(&args).await?;
    let ready = &pods["items"][0]["status"]["containerStatuses"][0]["ready"];
    ensure!(*ready == false, "the broken installer is ready");

    let args = ["rollback", "skiff", "--namespace", NAMESPACE];
    let wait = ["--wait", "--timeout", "3m"];
    cluster.clients().helm(&[&args[..], &wait].concat()).await?;
    a_new_pod_answers(&space, "rolled-back").await
}

async fn uninstall_is_refused_while_pods_use_the_runtime(space: Space) -> anyhow::Result<()> {
    let image = space.guest("hello")?;
    let running = spec(Some(SKIFF), &[wasm("app", &image)]);
    space.apply(&[pod("user", running)]).await?;
    space.wait_for("pod/user", "condition=Ready").await?;
    let cluster = space.cluster();
    let refused = cluster.helm_uninstall().await;
    ensure!(refused.is_err(), "it is gone although a pod uses it");
    let args = ["logs", "-n", NAMESPACE, "job/skiff-retire"];
    let log = cluster.clients().kubectl(&args).await?;
    let name = format!("{}/user", space.name());
    ensure!(log.contains(&name), "{name} is not named: {log}");
    a_new_pod_answers(&space, "still").await
}

/// Skiff is installed again afterwards; the next uninstall removes what was kept.
async fn a_forced_uninstall_leaves_running_pods_their_program(space: Space) -> anyhow::Result<()> {
    let image = space.guest("hello")?;
    let running = spec(Some(SKIFF), &[wasm("app", &image)]);
    space.apply(&[pod("user", running)]).await?;
    space.wait_for("pod/user", "condition=Ready").await?;
    let found = space.get(&["pod", "user"]).await?;
    let url = format!("http://{}/", address(&found, 80)?);
    let version = labelled(&space).await?;
    let cluster = space.cluster();
    let refused = cluster.helm_uninstall().await;
    ensure!(refused.is_err(), "it is gone although a pod uses it");
    cluster.helm_take_up().await?;
    cluster.helm_upgrade("uninstall.force=true", true).await?;
    cluster.helm_uninstall().await?;
    let node = space.get(&["node", NODE_NAME]).await?;
    let kept = &node["metadata"]["annotations"]["skiff.dev/kept"];
    ensure!(*kept == "true", "{}", node["metadata"]);
    ensure!(labelled(&space).await? == version, "{}", node["metadata"]);
    let program = Path::new("/opt/skiff").join(version).join("skiff");
    ensure!(program.exists(), "{} is gone", program.display());
    assert_eq!(http::get(&url).await?.text(), "Hello from Wasm\n");
    space.kubectl(&["delete", "pod/user"]).await?;
    cluster.install().await
}

async fn uninstall_leaves_the_files_of_the_node_as_they_were(space: Space) -> anyhow::Result<()> {
    let cluster = space.cluster();
    cluster.helm_uninstall().await?;
    let differs = cluster.own()?.files_that_differ()?;
    ensure!(differs.is_empty(), "{}", differs.join("\n"));
    let node = space.get(&["node", NODE_NAME]).await?;
    let labels = node["metadata"]["labels"].to_string();
    ensure!(!labels.contains("skiff.dev"), "{labels}");
    cluster
        .clients()
        .kubectl(&["get", "node", NODE_NAME])
        .await
        .context("the node after the uninstall")
        .map(drop)
}

/// The commands of the page as they stand, with its file for containerd 2.
async fn a_node_is_set_up_by_hand_as_its_page_says(space: Space) -> anyhow::Result<()> {
    const RESTART: &str = "systemctl restart containerd";
    let cluster = space.cluster();
    cluster.helm_uninstall_if_there().await?;
    let restart = || {
        let killed = |containerd: &mut Program| Ok(containerd.kill()?);
        cluster.own()?.with_program("containerd", killed)
    };
    let folder = cluster.scratch().join("by-hand");
    fs::create_dir_all(&folder)?;
    fs::copy(program(cluster.scratch()), folder.join("skiff"))?;
    symlink(pages::checkout().join("deploy"), folder.join("deploy"))?;
    let page = fs::read_to_string(pages::checkout().join("docs/node-by-hand.md"))?;
    let file = pages::blocks(&page, "toml");
    write(by_hand_file(), file.first().context("no file")?)?;
    let clients = cluster.clients();
    let ran = async {
        let mut restarted = false;
        for line in pages::blocks(&page, "sh").into_iter().flat_map(str::lines) {
            match line {
                // There is no systemd here to do it.
                RESTART => {
                    restart()?;
                    restarted = true;
                }
                _ => {
                    clients.shell(line, &folder).await?;
                }
            }
        }
        ensure!(restarted, "the page does not say `{RESTART}`");
        a_new_pod_answers(&space, "by-hand").await
    }
    .await;
    clients
        .kubectl(&["delete", "--ignore-not-found", "-f", RUNTIME_CLASS])
        .await?;
    no_handler_by_hand()?;
    restart()?;
    ran
}
