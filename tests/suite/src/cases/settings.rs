//! The environment of a pod: settings, application variables, and everything else, which
//! guests must not see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use skiff_test_support::{ContainerSpec, http};

use crate::apps::{App, Kind};
use crate::cases;
use crate::harness::Case;
use crate::node::Node;
use crate::pods::{Refusal, SOON, Served};

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_listen_address_is_kept,
        every_setting_that_does_not_parse_is_named,
        an_unknown_setting_is_warned_about,
        what_kubernetes_adds_for_a_service_called_skiff_is_no_setting,
        variables_come_from_environment_and_defaults,
        variables_come_from_a_volume_and_are_read_anew,
        variables_come_from_a_runtime_configuration,
        a_runtime_configuration_with_a_mistake_is_told_by_its_line,
        guests_see_their_own_environment_only,
        components_that_are_not_retained_are_gone,
        an_unknown_component_to_retain_is_named,
        instance_memory_is_limited,
        a_request_over_its_time_is_answered_504,
        requests_are_logged_when_asked,
    ]
}

async fn hello(node: &Node) -> anyhow::Result<ContainerSpec> {
    Ok(Kind::Spin.container("app", &node.guest_image(Kind::Spin, "hello").await?))
}

async fn a_listen_address_is_kept(node: Arc<Node>) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("listens", "skiff").await?;
    let spec = hello(&node)
        .await?
        .env("SPIN_HTTP_LISTEN_ADDR", "0.0.0.0:8080");
    let container = pod.run(&spec).await?;
    let served = Served { pod, container };
    served.healthy(8080).await?;
    let reply = http::get(&served.pod.url(80, "/")).await;
    ensure!(
        matches!(reply, Err(http::HttpError::Connect { .. })),
        "port 80 answers {reply:?}"
    );
    served.end().await?;
    Ok(())
}

async fn every_setting_that_does_not_parse_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = hello(&node)
        .await?
        .env("SPIN_HTTP_LISTEN_ADDR", "not an address")
        .env("SKIFF_DRAIN_TIMEOUT", "soon")
        .env("SPIN_MAX_INSTANCE_MEMORY", "a lot");
    let refusal = Refusal::of(&node, "settings", spec).await?;
    refusal.tells(&[
        "SPIN_HTTP_LISTEN_ADDR",
        "not an address",
        "SKIFF_DRAIN_TIMEOUT",
        "soon",
    ])?;
    refusal.tells(&["SPIN_MAX_INSTANCE_MEMORY", "a lot"])
}

async fn an_unknown_setting_is_warned_about(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = hello(&node).await?.env("SKIFF_REQUEST_TIMEUOT", "3s");
    let served = Served::start(&node, "misspelt", &spec).await?;
    served
        .container
        .wait_log("SKIFF_REQUEST_TIMEUOT", SOON)
        .await?;
    served.end().await?;
    Ok(())
}

async fn what_kubernetes_adds_for_a_service_called_skiff_is_no_setting(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let spec = hello(&node)
        .await?
        .env("SKIFF_SERVICE_HOST", "10.0.0.7")
        .env("SKIFF_SERVICE_PORT", "80")
        .env("SKIFF_PORT", "tcp://10.0.0.7:80")
        .env("SKIFF_PORT_80_TCP", "tcp://10.0.0.7:80")
        .env("SKIFF_PORT_80_TCP_PROTO", "tcp")
        .env("SKIFF_PORT_80_TCP_PORT", "80")
        .env("SKIFF_PORT_80_TCP_ADDR", "10.0.0.7");
    let served = Served::start(&node, "service-links", &spec).await?;
    let lines = served.container.logs()?;
    ensure!(
        !lines.iter().any(|line| line.text.contains("SKIFF_")),
        "it is warned: {lines:?}"
    );
    served.end().await?;
    Ok(())
}

/// An application with four variables, each set in another way.
fn variables() -> anyhow::Result<App> {
    let app = App::of_guest("variables")?.manifest(
        r#"[variables]
plain = { default = "unused" }
prefixed = { required = true }
both = { required = true }
defaulted = { default = "by default" }
"#,
    );
    Ok(app.component(
        r#"[component.variables.variables]
plain = "{{ plain }}"
prefixed = "<{{ prefixed }}>"
both = "{{ both }}"
defaulted = "{{ defaulted }}"
"#,
    ))
}

async fn variables_come_from_environment_and_defaults(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node
        .app_image("variables", Kind::Spin, &variables()?)
        .await?;
    let spec = Kind::Spin
        .container("app", &image)
        .env("PLAIN", "by plain name")
        .env("SPIN_VARIABLE_PREFIXED", "by prefix")
        .env("SPIN_VARIABLE_BOTH", "loses")
        .env("BOTH", "wins");
    let served = Served::start(&node, "variables", &spec).await?;
    for (name, value) in [
        ("plain", "by plain name"),
        ("prefixed", "<by prefix>"),
        ("both", "wins"),
        ("defaulted", "by default"),
    ] {
        assert_eq!(
            served.get(&format!("/?name={name}")).await?.text(),
            value,
            "{name}"
        );
    }
    let unknown = served.get("/?name=nothing").await?;
    assert_eq!(unknown.status, 500, "{}", unknown.text());
    served.end().await?;
    Ok(())
}

/// An application with a variable that has no default.
fn who() -> anyhow::Result<App> {
    let app = App::of_guest("variables")?;
    let app = app.manifest("[variables]\nwho = { required = true, secret = true }\n");
    Ok(app.component("variables = { who = \"{{ who }}\" }"))
}

async fn variables_come_from_a_volume_and_are_read_anew(node: Arc<Node>) -> anyhow::Result<()> {
    let folder = node.scratch("variables-volume")?;
    std::fs::write(folder.join("who"), "first\n")?;
    let image = node.app_image("who", Kind::Spin, &who()?).await?;
    let spec = Kind::Spin
        .container("app", &image)
        .mount_read_only(&folder, "/variables")
        .env("SKIFF_VARIABLES_DIR", "/variables");
    let served = Served::start(&node, "variables-volume", &spec).await?;
    assert_eq!(served.get("/?name=who").await?.text().trim(), "first");
    std::fs::write(folder.join("next"), "second\n")?;
    std::fs::rename(folder.join("next"), folder.join("who"))?;
    let begin = Instant::now();
    while served.get("/?name=who").await?.text().trim() != "second" {
        ensure!(begin.elapsed() < SOON, "the new value is not seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    served.end().await?;
    Ok(())
}

/// A pod of [`who`] with this file as its runtime configuration.
async fn configured(node: &Node, name: &str, text: &str) -> anyhow::Result<ContainerSpec> {
    let file = node.scratch(name)?.join("runtime-config.toml");
    std::fs::write(&file, text)?;
    let image = node.app_image("who", Kind::Spin, &who()?).await?;
    let spec = Kind::Spin.container("app", &image);
    Ok(spec.mount_read_only(&file, "/runtime-config.toml"))
}

async fn variables_come_from_a_runtime_configuration(node: Arc<Node>) -> anyhow::Result<()> {
    let text = "[[variables_provider]]\ntype = 'static'\nvalues = { who = 'configured' }\n";
    let spec = configured(&node, "variables-configured", text).await?;
    let served = Served::start(&node, "variables-configured", &spec).await?;
    assert_eq!(served.get("/?name=who").await?.text().trim(), "configured");
    served.end().await?;
    Ok(())
}

async fn a_runtime_configuration_with_a_mistake_is_told_by_its_line(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let spec = configured(&node, "configured-wrong", "\n[outbound_htp]\n").await?;
    let refusal = Refusal::of(&node, "configured-wrong", spec).await?;
    refusal.tells(&[
        "/runtime-config.toml:2:2",
        "`outbound_htp` is not a known field",
    ])
}

async fn guests_see_their_own_environment_only(node: Arc<Node>) -> anyhow::Result<()> {
    let app = App::of_guest("environment")?.component("environment = { OWN = \"value\" }");
    let image = node.app_image("environment", Kind::Spin, &app).await?;
    let spec = Kind::Spin
        .container("app", &image)
        .env("SECRET_OF_THE_POD", "hidden");
    let served = Served::start(&node, "environment", &spec).await?;
    assert_eq!(served.get("/").await?.text(), "env OWN=value\n");
    served.end().await?;
    Ok(())
}

/// The application `hello` with a second component at `/second`.
fn two_components() -> anyhow::Result<App> {
    Ok(App::of_guest("hello")?.manifest(
        r#"[[trigger.http]]
route = "/second"
component = "second"

[component.second]
source = "hello.wasm"
"#,
    ))
}

async fn components_that_are_not_retained_are_gone(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node
        .app_image("two", Kind::Spin, &two_components()?)
        .await?;
    let spec = Kind::Spin
        .container("app", &image)
        .env("SPIN_COMPONENTS_TO_RETAIN", "second");
    let served = Served::start(&node, "retains", &spec).await?;
    assert_eq!(served.get("/second").await?.status, 200);
    assert_eq!(served.get("/first").await?.status, 404);
    served.end().await?;
    Ok(())
}

async fn an_unknown_component_to_retain_is_named(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node
        .app_image("two", Kind::Spin, &two_components()?)
        .await?;
    let spec = Kind::Spin
        .container("app", &image)
        .env("SPIN_COMPONENTS_TO_RETAIN", "second,third");
    let refusal = Refusal::of(&node, "retains-unknown", spec).await?;
    refusal.tells(&["SPIN_COMPONENTS_TO_RETAIN", "third"])
}

async fn instance_memory_is_limited(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node.guest_image(Kind::Spin, "eat-memory").await?;
    let spec = Kind::Spin
        .container("app", &image)
        .env("SPIN_MAX_INSTANCE_MEMORY", "33554432");
    let served = Served::start(&node, "instance-memory", &spec).await?;
    assert_eq!(served.get("/?mib=8").await?.text(), "8 MiB\n");
    assert_eq!(served.get("/?mib=64").await?.status, 500);
    assert_eq!(
        served.get("/?mib=8").await?.text(),
        "8 MiB\n",
        "the next request is served"
    );
    served.end().await?;
    Ok(())
}

async fn a_request_over_its_time_is_answered_504(node: Arc<Node>) -> anyhow::Result<()> {
    for guest in ["loop-forever", "hang"] {
        let image = node.guest_image(Kind::Spin, guest).await?;
        let spec = Kind::Spin
            .container("app", &image)
            .env("SKIFF_REQUEST_TIMEOUT", "300ms");
        let served = Served::start(&node, &format!("timeout-{guest}"), &spec).await?;
        assert_eq!(served.get("/").await?.status, 504, "{guest}");
        served.container.wait_log(guest, SOON).await?;
        served.end().await?;
    }
    Ok(())
}

async fn requests_are_logged_when_asked(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = hello(&node).await?;
    let quiet = Served::start(&node, "no-access-log", &spec).await?;
    quiet.get("/not-logged").await?;
    let loud = Served::start(&node, "access-log", &spec.env("SKIFF_ACCESS_LOG", "true")).await?;
    loud.get("/logged").await?;
    let lines = loud.container.wait_log("/logged", SOON).await?;
    ensure!(
        lines.iter().any(|line| line.text.contains("200")),
        "no status in {lines:?}"
    );
    let lines = quiet.container.logs()?;
    ensure!(
        !lines.iter().any(|line| line.text.contains("/not-logged")),
        "it is logged: {lines:?}"
    );
    quiet.end().await?;
    loud.end().await?;
    Ok(())
}
