//! Command components (`wasi:cli`): Jobs and init containers.

use std::sync::Arc;

use anyhow::ensure;
use skiff_test_support::ContainerSpec;
use skiff_test_support::ctr::TaskSpec;
use skiff_test_support::oci::Image;
use skiff_test_support::pod::{State, Status};

use crate::apps::Kind;
use crate::harness::Case;
use crate::node::{Node, SKIFF, guest};
use crate::pods::{GRACE, SOON};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = crate::cases![
        arguments_and_environment_reach_it,
        an_images_environment_reaches_it_and_the_pods_goes_before,
        a_relative_entrypoint_is_below_the_working_directory,
        an_error_of_run_is_exit_code_one,
        a_panic_is_told_by_its_exit_code,
        sigterm_ends_it,
        an_init_container_ends_before_the_next_begins,
    ];
    for kind in [Kind::Component, Kind::Package] {
        let name = |what: &str| format!("commands::{}::{what}", kind.word());
        cases.push(Case::new(
            name("gives_its_exit_code_in_a_pod"),
            move |node| exit_code_in_a_pod(node, kind),
        ));
        cases.push(Case::new(
            name("gives_its_exit_code_as_a_task"),
            move |node| exit_code_as_a_task(node, kind),
        ));
    }
    cases
}

/// Runs a container to its end in a new pod.
async fn run_to_end(
    node: &Node,
    name: &str,
    spec: &ContainerSpec,
) -> anyhow::Result<(Status, Vec<String>)> {
    let pod = node.cri().run_pod(name, "skiff").await?;
    let container = pod.run(spec).await?;
    let status = container.wait_exit(SOON).await?;
    let lines = container
        .logs()?
        .into_iter()
        .map(|line| line.text)
        .collect();
    pod.remove().await?;
    Ok((status, lines))
}

async fn a_relative_entrypoint_is_below_the_working_directory(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let wasm = guest("module-exit-code")?;
    let image = node
        .image("workdir", |scratch| {
            let image = Image::for_platform("wasm", "wasi").copy(&wasm, "app/cli.wasm", 0o644)?;
            let image = image.directory("/app").entrypoint(&["cli.wasm"]);
            Ok(image.write(scratch.join("layout"))?)
        })
        .await?;
    let spec = ContainerSpec::new("job", &image).env("CODE", "42");
    let (status, lines) = run_to_end(&node, "workdir", &spec).await?;
    assert_eq!(status.exit_code, 42, "{lines:?}");
    Ok(())
}

async fn exit_code_in_a_pod(node: Arc<Node>, kind: Kind) -> anyhow::Result<()> {
    let image = node.guest_image(kind, "module-exit-code").await?;
    for code in [0, 42] {
        let name = format!("exit-{}-{code}", kind.word());
        let spec = kind.container("job", &image).env("CODE", &code.to_string());
        let (status, lines) = run_to_end(&node, &name, &spec).await?;
        assert_eq!(status.exit_code, code, "{status:?} {lines:?}");
        let reason = if code == 0 { "Completed" } else { "Error" };
        assert_eq!(status.reason, reason);
        ensure!(lines.contains(&format!("ending with {code}")), "{lines:?}");
    }
    Ok(())
}

async fn exit_code_as_a_task(node: Arc<Node>, kind: Kind) -> anyhow::Result<()> {
    let image = node.guest_task_image(kind, "module-exit-code").await?;
    let id = format!("exit-task-{}", kind.word());
    let spec = TaskSpec::new(&id, &image, SKIFF).env("CODE", "17");
    let finished = node.containerd().run_task(&spec).await?;
    assert_eq!(finished.status.code(), Some(17), "{finished:?}");
    ensure!(finished.stderr.contains("ending with 17"), "{finished:?}");
    Ok(())
}

async fn arguments_and_environment_reach_it(node: Arc<Node>) -> anyhow::Result<()> {
    for guest in ["args-env", "module-args-env"] {
        let image = node.guest_image(Kind::Component, guest).await?;
        let spec = ContainerSpec::new("job", &image)
            .args(&["one", "two words"])
            .env("NAME", "value");
        let (status, lines) = run_to_end(&node, guest, &spec).await?;
        assert_eq!(status.exit_code, 0, "{status:?} {lines:?}");
        for wanted in ["arg one", "arg two words", "env NAME=value"] {
            ensure!(
                lines.iter().any(|line| line == wanted),
                "no `{wanted}` in {lines:?}"
            );
        }
    }
    Ok(())
}

async fn an_images_environment_reaches_it_and_the_pods_goes_before(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let wasm = guest("args-env")?;
    let image = node
        .image("command-environment", |scratch| {
            let image = Image::for_platform("wasm", "wasi").copy(&wasm, "cli.wasm", 0o644)?;
            let image = image.env("ONE", "of the image").env("TWO", "of the image");
            Ok(image
                .entrypoint(&["/cli.wasm"])
                .write(scratch.join("layout"))?)
        })
        .await?;
    let spec = ContainerSpec::new("job", &image).env("TWO", "of the pod");
    let (status, lines) = run_to_end(&node, "command-environment", &spec).await?;
    assert_eq!(status.exit_code, 0, "{status:?} {lines:?}");
    let ours = ["env ONE=", "env TWO="];
    let found: Vec<_> = lines
        .iter()
        .filter(|line| ours.iter().any(|name| line.starts_with(name)))
        .collect();
    assert_eq!(found, ["env ONE=of the image", "env TWO=of the pod"]);
    Ok(())
}

async fn an_error_of_run_is_exit_code_one(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node.guest_image(Kind::Component, "run-error").await?;
    let (status, lines) =
        run_to_end(&node, "run-error", &ContainerSpec::new("job", &image)).await?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (1, "Error"),
        "{lines:?}"
    );
    Ok(())
}

async fn a_panic_is_told_by_its_exit_code(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node.guest_image(Kind::Component, "exit-code").await?;
    let spec = ContainerSpec::new("job", &image).env("CODE", "panic");
    let (status, lines) = run_to_end(&node, "panics", &spec).await?;
    assert_eq!(status.exit_code, 134, "{status:?} {lines:?}");
    ensure!(
        lines.iter().any(|line| line.contains("asked to panic")),
        "{lines:?}"
    );
    Ok(())
}

async fn sigterm_ends_it(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node.guest_image(Kind::Component, "wait").await?;
    let pod = node.cri().run_pod("waits", "skiff").await?;
    let container = pod.run(&ContainerSpec::new("job", &image)).await?;
    container.wait_log("waiting", SOON).await?;
    let began = std::time::Instant::now();
    container.stop(GRACE).await?;
    ensure!(began.elapsed() < GRACE, "only SIGKILL ended it");
    assert_eq!(container.status().await?.state, State::Exited);
    pod.remove().await?;
    Ok(())
}

async fn an_init_container_ends_before_the_next_begins(node: Arc<Node>) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("init", "skiff").await?;
    let folder = node.scratch("init")?;
    let native = node.native_image().await?;
    let init = ContainerSpec::new("init", &native)
        .args(&["write", "/shared/file", "from the init container"])
        .mount(&folder, "/shared");
    let status = pod.run(&init).await?.wait_exit(SOON).await?;
    assert_eq!(status.exit_code, 0, "{status:?}");
    let image = node.guest_image(Kind::Spin, "read-files").await?;
    let spec = Kind::Spin
        .container("app", &image)
        .mount_read_only(&folder, "/shared");
    let container = pod.run(&spec).await?;
    let served = crate::pods::Served { pod, container };
    served.healthy(80).await?;
    assert_eq!(
        served.get("/?path=/shared/file").await?.text(),
        "from the init container"
    );
    served.end().await?;
    Ok(())
}
