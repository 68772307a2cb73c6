//! The metrics-server's figures, and the autoscaler that uses them.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::cases;
use crate::harness::Case;
use crate::load::Load;
use crate::manifests::{SKIFF, deployment, service, spec, wasm};
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

/// metrics-server queries every ten seconds and needs two answers.
const SEEN_WITHIN: Duration = Duration::from_secs(120);

pub(super) fn cases() -> Vec<Case> {
    let cases = cases![an_autoscaler_follows_the_load];
    cases.into_iter().map(|case| case.alone().own()).collect()
}

async fn an_autoscaler_follows_the_load(space: Space) -> anyhow::Result<()> {
    let mut app = wasm("app", &space.guest("hello")?);
    app["resources"] = json!({ "requests": { "cpu": "50m", "memory": "16Mi" } });
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "web" },
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "minReplicas": 1,
            "maxReplicas": 4,
            "metrics": [{
                "type": "Resource",
                "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } },
            }],
        },
    });
    space
        .apply(&[
            deployment("web", 1, spec(Some(SKIFF), &[app])),
            service("web"),
            autoscaler,
        ])
        .await?;
    space.rolled_out("deployment/web", SOON).await?;
    let idle = wait_until("`kubectl top pod`", SEEN_WITHIN, || async {
        let text = space.kubectl(&["top", "pod", "--no-headers"]).await?;
        Ok(match text.split_whitespace().collect::<Vec<_>>()[..] {
            [_, cpu, memory] if cpu.ends_with('m') && memory.ends_with("Mi") => {
                Look::Yes(text.trim().to_owned())
            }
            _ => Look::NotYet(text),
        })
    })
    .await?;
    ensure!(
        !idle.ends_with(" 0Mi"),
        "it seems to take no memory: {idle}"
    );

    let load = Load::full(space.service("web").await?, "/", 4);
    let grown = replicas(&space, "more pods under load", |replicas| replicas >= 3).await;
    let tally = load.end().await?;
    grown?;
    ensure!(tally.answered > 0, "{tally}");
    replicas(&space, "one pod without load", |replicas| replicas == 1).await
}

async fn replicas(space: &Space, what: &str, holds: impl Fn(u64) -> bool) -> anyhow::Result<()> {
    wait_until(what, SEEN_WITHIN, || async {
        let found = space.get(&["horizontalpodautoscaler", "web"]).await?;
        let now = found["status"]["currentReplicas"].as_u64();
        Ok(Look::at(now.is_some_and(&holds), &found["status"]))
    })
    .await
}
