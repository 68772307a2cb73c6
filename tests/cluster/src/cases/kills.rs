//! Parts of the node are killed under load.

use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use skiff_test_support::{http, processes};

use crate::cases;
use crate::control::NODE_NAME;
use crate::harness::Case;
use crate::load::Load;
use crate::manifests::{SKIFF, deployment, service, spec, wasm};
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

/// A part of every shim's command line, whatever its path.
const SHIM: &str = " -namespace k8s.io -id ";

/// How long the node may take to clean up deleted pods. kubelet looks for their sandboxes
/// once a minute.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(150);

pub(super) fn cases() -> Vec<Case> {
    let cases = cases![
        kubelet_killed_under_load_loses_no_request,
        containerd_killed_under_load_loses_no_request,
        a_killed_shim_costs_its_own_pod_only_and_leaves_nothing,
    ];
    cases.into_iter().map(|case| case.alone().own()).collect()
}

async fn started(space: &Space) -> anyhow::Result<Load> {
    let image = space.guest("hello")?;
    let spec = spec(Some(SKIFF), &[wasm("app", &image)]);
    space
        .apply(&[deployment("web", 3, spec), service("web")])
        .await?;
    space.rolled_out("deployment/web", SOON).await?;
    let address = space.service("web").await?;
    http::get_until_ok(&format!("http://{address}/"), SOON).await?;
    Ok(Load::steady(address, "/"))
}

/// Kills a part, starts it again, and waits until pods start and end again.
async fn killed(space: &Space, part: &str) -> anyhow::Result<()> {
    let load = started(space).await?;
    let own = space.cluster().own()?;
    own.with_program(part, |program| Ok(program.kill()?))?;
    let ran = async {
        space
            .kubectl(&["scale", "deployment/web", "--replicas=4"])
            .await?;
        space.rolled_out("deployment/web", SOON).await?;
        let ready = format!("node/{NODE_NAME}");
        space.wait_for(&ready, "condition=Ready").await
    }
    .await;
    let tally = load.end().await?;
    ran?;
    ensure!(tally.losses() == 0, "{tally}");
    gone(space).await
}

/// Deletes the pods and checks that all of them are gone.
async fn gone(space: &Space) -> anyhow::Result<()> {
    space
        .kubectl(&["delete", "deployment/web", "--cascade=foreground"])
        .await?;
    wait_until("the end of all pods", SOON, || async {
        let pods = space.list(&["pods"]).await?;
        Ok(Look::at(pods.is_empty(), format!("{} pods", pods.len())))
    })
    .await?;
    let left = space.cluster().own()?.leftovers(FORGOTTEN_WITHIN).await;
    let left: Vec<_> = left.iter().map(ToString::to_string).collect();
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    Ok(())
}

async fn kubelet_killed_under_load_loses_no_request(space: Space) -> anyhow::Result<()> {
    killed(&space, "kubelet").await
}

async fn containerd_killed_under_load_loses_no_request(space: Space) -> anyhow::Result<()> {
    killed(&space, "containerd").await
}

async fn a_killed_shim_costs_its_own_pod_only_and_leaves_nothing(
    space: Space,
) -> anyhow::Result<()> {
    // The shims of other pods, some of which are not ours.
    let others = processes::roots_with_argument(SHIM);
    let load = started(&space).await?;
    let mut shims = processes::roots_with_argument(SHIM);
    shims.retain(|shim| !others.contains(shim));
    processes::signal(shims.first().context("no shim runs")?.pid, Signal::KILL);
    let ran = wait_until("a restarted container", SOON, || async {
        let pods = space.list(&["pods"]).await?;
        let statuses: Vec<_> = pods
            .iter()
            .map(|pod| &pod["status"]["containerStatuses"][0])
            .collect();
        let restarted = statuses.iter().any(|status| status["restartCount"] != 0);
        let ready = statuses.iter().all(|status| status["ready"] == true);
        Ok(Look::at(restarted && ready, format!("{statuses:?}")))
    })
    .await;
    let tally = load.end().await?;
    ran?;
    // Only the requests that it served at that moment are lost.
    ensure!(tally.losses() < tally.answered / 10, "{tally}");
    gone(&space).await
}
