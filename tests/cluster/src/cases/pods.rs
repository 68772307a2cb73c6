//! Workloads without faults.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use skiff_test_support::http;

use crate::cases;
use crate::harness::Case;
use crate::images::{BUSYBOX, HANDYMAN};
use crate::manifests::{SKIFF, deployment, job, pod, pod_once, service, spec, wasm};
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = cases![a_pod_answers].into_iter().map(Case::short).collect();
    cases.extend(cases![
        a_service_reaches_three_replicas,
        a_deployment_scales_from_one_to_twenty_and_back,
        a_job_completes_and_another_fails_with_its_code,
        an_init_container_runs_first_and_leaves_its_file,
        a_sidecar_asks_a_wasm_container_over_localhost,
        a_configmap_and_a_secret_are_variables_and_files,
        a_pod_reaches_a_service_by_its_name,
        every_kind_of_image_is_pulled_and_served,
    ]);
    cases
}

/// Sends requests until an answer comes, prints it, and stays.
const ASKS: &str = "until wget -q -O - http://localhost/; do sleep 1; done; sleep 3600";

/// A port of a pod that has an address.
pub(super) fn address(pod: &Value, port: u16) -> anyhow::Result<SocketAddr> {
    let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
    let ip = ip.parse().with_context(|| format!("a pod is at `{ip}`"))?;
    Ok(SocketAddr::new(ip, port))
}

async fn ask(url: &str) -> anyhow::Result<http::Reply> {
    Ok(http::get_until_ok(url, SOON).await?)
}

async fn a_pod_answers(space: Space) -> anyhow::Result<()> {
    let image = space.guest("hello")?;
    let spec = spec(Some(SKIFF), &[wasm("app", &image)]);
    space.apply(&[pod("hello", spec)]).await?;
    space.wait_for("pod/hello", "condition=Ready").await?;
    let pod = space.get(&["pod", "hello"]).await?;
    let reply = ask(&format!("http://{}/", address(&pod, 80)?)).await?;
    assert_eq!(reply.text(), "Hello from Wasm\n");
    Ok(())
}

async fn a_service_reaches_three_replicas(space: Space) -> anyhow::Result<()> {
    const REQUESTS: usize = 30;
    let image = space.guest("print-lines")?;
    let spec = spec(Some(SKIFF), &[wasm("app", &image)]);
    space
        .apply(&[deployment("web", 3, spec), service("web")])
        .await?;
    space.rolled_out("deployment/web", SOON).await?;
    let url = format!("http://{}/", space.service("web").await?);
    ask(&url).await?;
    let pods = space.list(&["pods", "-l", "app=web"]).await?;
    assert_eq!(pods.len(), 3);
    // kube-proxy may learn of one of them slightly later.
    wait_until("a request to each pod", SOON, || async {
        for _ in 0..REQUESTS {
            let reply = http::get(&url).await?;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        for pod in &pods {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let log = space.kubectl(&["logs", name]).await?;
            if !log.contains("stdout one") {
                return Ok(Look::NotYet(format!("{name} was never asked: {log}")));
            }
        }
        Ok(Look::Yes(()))
    })
    .await
}

async fn a_deployment_scales_from_one_to_twenty_and_back(space: Space) -> anyhow::Result<()> {
    let image = space.guest("hello")?;
    let spec = spec(Some(SKIFF), &[wasm("app", &image)]);
    space
        .apply(&[deployment("web", 1, spec), service("web")])
        .await?;
    for replicas in [1_usize, 20, 1] {
        let wanted = format!("--replicas={replicas}");
        space.kubectl(&["scale", "deployment/web", &wanted]).await?;
        space.rolled_out("deployment/web", SOON).await?;
        wait_until("as many pods as wanted", SOON, || async {
            let pods = space.list(&["pods", "-l", "app=web"]).await?;
            let there = format!("{} pods", pods.len());
            Ok(Look::at(pods.len() == replicas, there))
        })
        .await?;
        let url = format!("http://{}/", space.service("web").await?);
        ask(&url).await?;
    }
    Ok(())
}

async fn a_job_completes_and_another_fails_with_its_code(space: Space) -> anyhow::Result<()> {
    let image = space.command("module-exit-code")?;
    let ending = |code: &str| {
        let env = json!([{ "name": "CODE", "value": code }]);
        let container = json!({ "name": "task", "image": image, "env": env });
        spec(Some(SKIFF), &[container])
    };
    space
        .apply(&[job("good", ending("0")), job("bad", ending("42"))])
        .await?;
    space.wait_for("job/good", "condition=Complete").await?;
    space.wait_for("job/bad", "condition=Failed").await?;
    let log = space.kubectl(&["logs", "job/good"]).await?;
    ensure!(log.contains("ending with 0"), "{log}");
    let pods = space.list(&["pods", "-l", "app=bad"]).await?;
    let state = &pods[0]["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(state["exitCode"], 42, "{state}");
    Ok(())
}

async fn an_init_container_runs_first_and_leaves_its_file(space: Space) -> anyhow::Result<()> {
    let shared = json!([{ "name": "shared", "mountPath": "/shared" }]);
    let mut app = wasm("app", &space.guest("read-files")?);
    app["volumeMounts"] = shared.clone();
    let mut spec = spec(Some(SKIFF), &[app]);
    spec["volumes"] = json!([{ "name": "shared", "emptyDir": {} }]);
    spec["initContainers"] = json!([
        { "name": "wasm", "image": space.command("module-exit-code")?, "env": [{ "name": "CODE", "value": "0" }] },
        {
            "name": "linux",
            "image": space.image(BUSYBOX),
            "command": ["sh", "-c", "sleep 1; echo -n prepared > /shared/file"],
            "volumeMounts": shared,
        },
    ]);
    space.apply(&[pod("prepared", spec)]).await?;
    space.wait_for("pod/prepared", "condition=Ready").await?;
    let pod = space.get(&["pod", "prepared"]).await?;
    let url = format!("http://{}/?path=/shared/file", address(&pod, 80)?);
    assert_eq!(http::get(&url).await?.text(), "prepared");
    let finished = &pod["status"]["initContainerStatuses"][1]["state"]["terminated"]["finishedAt"];
    let started = &pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
    ensure!(
        finished.as_str() <= started.as_str(),
        "it ended at {finished}, the application began at {started}"
    );
    Ok(())
}

async fn a_sidecar_asks_a_wasm_container_over_localhost(space: Space) -> anyhow::Result<()> {
    let app = wasm("app", &space.guest("hello")?);
    let serves =
        json!({ "name": "serves", "image": space.image(HANDYMAN), "args": ["serve", "9090"] });
    let asks =
        json!({ "name": "asks", "image": space.image(BUSYBOX), "command": ["sh", "-c", ASKS] });
    let spec = spec(Some(SKIFF), &[app, serves, asks]);
    space.apply(&[pod("mixed", spec)]).await?;
    space.wait_for("pod/mixed", "condition=Ready").await?;
    let found = space.get(&["pod", "mixed"]).await?;
    let url = format!("http://{}/", address(&found, 9090)?);
    assert_eq!(ask(&url).await?.text(), "native");
    wait_until("the application's answer in the log", SOON, || async {
        let log = space.kubectl(&["logs", "mixed", "-c", "asks"]).await?;
        Ok(Look::at(log.contains("Hello from Wasm"), log))
    })
    .await
}

async fn a_configmap_and_a_secret_are_variables_and_files(space: Space) -> anyhow::Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "settings" }, "data": { "COLOUR": "red", "file": "of the map" },
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "hidden" }, "stringData": { "WORD": "sesame" },
    });
    let image = space.command("args-env")?;
    let printer = json!({
        "name": "task",
        "image": image,
        "envFrom": [{ "configMapRef": { "name": "settings" } }, { "secretRef": { "name": "hidden" } }],
    });
    let mut reader = wasm("app", &space.guest("read-files")?);
    reader["volumeMounts"] =
        json!([{ "name": "settings", "mountPath": "/config", "readOnly": true }]);
    let mut files = spec(Some(SKIFF), &[reader]);
    files["volumes"] = json!([{ "name": "settings", "configMap": { "name": "settings" } }]);
    let variables = spec(Some(SKIFF), &[printer]);
    space
        .apply(&[
            config,
            secret,
            pod_once("variables", variables),
            pod("files", files),
        ])
        .await?;
    space
        .wait_for("pod/variables", "jsonpath={.status.phase}=Succeeded")
        .await?;
    let log = space.kubectl(&["logs", "variables"]).await?;
    for line in ["env COLOUR=red", "env WORD=sesame"] {
        ensure!(log.contains(line), "no `{line}` in {log}");
    }
    space.wait_for("pod/files", "condition=Ready").await?;
    let pod = space.get(&["pod", "files"]).await?;
    let url = format!("http://{}/?path=/config/file", address(&pod, 80)?);
    assert_eq!(ask(&url).await?.text(), "of the map");
    Ok(())
}

async fn a_pod_reaches_a_service_by_its_name(space: Space) -> anyhow::Result<()> {
    let hello = spec(Some(SKIFF), &[wasm("app", &space.guest("hello")?)]);
    let script = ASKS.replace("localhost", "hello");
    let asks =
        json!({ "name": "asks", "image": space.image(BUSYBOX), "command": ["sh", "-c", script] });
    space
        .apply(&[
            deployment("hello", 1, hello),
            service("hello"),
            pod("asks", spec(None, &[asks])),
        ])
        .await?;
    wait_until("an answer by name", SOON, || async {
        let log = space.kubectl(&["logs", "asks"]).await?;
        Ok(Look::at(log.contains("Hello from Wasm"), log))
    })
    .await
}

async fn every_kind_of_image_is_pulled_and_served(space: Space) -> anyhow::Result<()> {
    let kinds = [
        ("spin", space.guest("hello")?),
        ("package", space.package("hello")?),
        ("component", space.command("hello")?),
    ];
    for (kind, image) in kinds {
        let mut app = wasm("app", &image);
        if kind == "package" {
            // Its tool sets no entrypoint, and the kubelet requires a command.
            app["command"] = json!(["/"]);
        }
        space.apply(&[pod(kind, spec(Some(SKIFF), &[app]))]).await?;
        let object = format!("pod/{kind}");
        space.wait_for(&object, "condition=Ready").await?;
        let found = space.get(&["pod", kind]).await?;
        let reply = ask(&format!("http://{}/", address(&found, 80)?)).await?;
        assert_eq!(reply.text(), "Hello from Wasm\n", "{kind}");
    }
    Ok(())
}
