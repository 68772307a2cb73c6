//! Containers that end and are restarted.

use anyhow::ensure;
use serde_json::{Value, json};
use skiff_test_support::http;

use super::pods::address;
use crate::cases;
use crate::harness::Case;
use crate::images::BUSYBOX;
use crate::manifests::{SKIFF, pod, spec, wasm};
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_liveness_failure_restarts_the_container,
        past_its_memory_limit_it_is_shown_as_oom_killed,
        a_crash_loop_backs_off,
    ]
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn restarts(pod: &Value) -> u64 {
    container(pod)["restartCount"].as_u64().unwrap_or_default()
}

async fn a_liveness_failure_restarts_the_container(space: Space) -> anyhow::Result<()> {
    let shared = json!([{ "name": "shared", "mountPath": "/shared" }]);
    let mut app = wasm("a-app", &space.guest("read-files")?);
    app["volumeMounts"] = shared.clone();
    // It answers 404 if the file is missing.
    app["livenessProbe"] = json!({
        "httpGet": { "path": "/?path=/shared/alive", "port": 80 },
        "periodSeconds": 1,
        "failureThreshold": 3,
    });
    let script = "sleep 6; busybox rm /shared/alive; sleep 5; echo > /shared/alive; sleep 3600";
    let mut spec = spec(
        Some(SKIFF),
        &[
            app,
            json!({ "name": "side", "image": space.image(BUSYBOX), "command": ["sh", "-c", script], "volumeMounts": shared }),
        ],
    );
    spec["volumes"] = json!([{ "name": "shared", "emptyDir": {} }]);
    spec["initContainers"] = json!([{
        "name": "before", "image": space.image(BUSYBOX), "command": ["sh", "-c", "echo > /shared/alive"], "volumeMounts": shared,
    }]);
    space.apply(&[pod("mortal", spec)]).await?;
    let what = "a restart after a failed probe, and its end";
    let pod = space
        .pod_until("mortal", what, |pod| {
            restarts(pod) > 0 && container(pod)["ready"] == true
        })
        .await?;
    let before = &container(&pod)["lastState"]["terminated"];
    ensure!(before["exitCode"] == 0, "it did not end well: {before}");
    let text = space.kubectl(&["describe", "pod", "mortal"]).await?;
    ensure!(text.contains("failed liveness probe"), "{text}");
    Ok(())
}

async fn past_its_memory_limit_it_is_shown_as_oom_killed(space: Space) -> anyhow::Result<()> {
    let mut app = wasm("app", &space.guest("eat-memory")?);
    app["resources"] = json!({ "limits": { "memory": "96Mi" } });
    space
        .apply(&[pod("hungry", spec(Some(SKIFF), &[app]))])
        .await?;
    space.wait_for("pod/hungry", "condition=Ready").await?;
    let found = space.get(&["pod", "hungry"]).await?;
    let url = format!("http://{}", address(&found, 80)?);
    assert_eq!(
        http::get(&format!("{url}/?mib=16")).await?.text(),
        "16 MiB\n"
    );
    ensure!(
        !http::get(&format!("{url}/"))
            .await
            .is_ok_and(|reply| reply.status == 200),
        "it got all available memory"
    );
    let pod = space
        .pod_until("hungry", "a restart after the end", |pod| {
            restarts(pod) == 1 && container(pod)["ready"] == true
        })
        .await?;
    let before = &container(&pod)["lastState"]["terminated"];
    assert_eq!(before["reason"], "OOMKilled", "{before}");
    assert_eq!(before["exitCode"], 137, "{before}");
    assert_eq!(
        http::get(&format!("{url}/?mib=16")).await?.text(),
        "16 MiB\n"
    );
    Ok(())
}

async fn a_crash_loop_backs_off(space: Space) -> anyhow::Result<()> {
    let image = space.command("module-exit-code")?;
    let env = json!([{ "name": "CODE", "value": "7" }]);
    let app = json!({ "name": "app", "image": image, "env": env });
    space
        .apply(&[pod("crashes", spec(Some(SKIFF), &[app]))])
        .await?;
    let pod = space
        .pod_until("crashes", "a back-off", |pod| {
            restarts(pod) >= 2 && container(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await?;
    let before = &container(&pod)["lastState"]["terminated"];
    assert_eq!(before["exitCode"], 7, "{before}");
    wait_until("the event", SOON, || async {
        let text = space.kubectl(&["describe", "pod", "crashes"]).await?;
        Ok(Look::at(text.contains("Back-off restarting"), text))
    })
    .await
}
