//! Linux containers, under runc to prove the suite itself, and in pods of the
//! shim, where they must be no worse.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use skiff_test_support::ctr::TaskSpec;
use skiff_test_support::logs::Stream;
use skiff_test_support::pod::State;
use skiff_test_support::{ContainerSpec, http};

use crate::cases;
use crate::harness::Case;
use crate::node::{Node, SKIFF};

/// How long a Linux container may take to start, serve or end.
const SOON: Duration = Duration::from_secs(20);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = cases![what_is_left_would_be_seen];
    cases.extend(["runc", "skiff"].into_iter().flat_map(of_handler));
    cases
}

fn of_handler(handler: &'static str) -> Vec<Case> {
    let name = |what: &str| format!("linux::{handler}::{what}");
    vec![
        Case::new(name("serves_at_the_address_of_its_pod"), move |node| {
            serves(node, handler)
        }),
        Case::new(name("keeps_both_streams_of_its_logs"), move |node| {
            logs(node, handler)
        }),
        Case::new(name("gives_its_exit_code"), move |node| {
            exit_code(node, handler)
        }),
        Case::new(name("is_killed_over_its_memory_limit"), move |node| {
            killed(node, handler)
        }),
        Case::new(name("writes_to_a_volume"), move |node| {
            volume(node, handler)
        }),
        Case::new(name("runs_as_a_task"), move |node| as_a_task(node, handler)),
        Case::new(name("is_removed_alone_and_made_again"), move |node| {
            again(node, handler)
        }),
    ]
}

async fn serves(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("serves", handler).await?;
    let spec = ContainerSpec::new("server", &node.native_image().await?).args(&["serve", "8080"]);
    let container = pod.run(&spec).await?;
    let reply = http::get_until_ok(&pod.url(8080, "/a"), SOON).await?;
    assert_eq!(reply.text(), "native");
    container.wait_log("asked GET /a HTTP/1.1", SOON).await?;
    assert_eq!(container.status().await?.state, State::Running);
    container.stop(Duration::from_secs(10)).await?;
    let status = container.status().await?;
    assert_eq!(
        (status.state, status.exit_code),
        (State::Exited, 0),
        "{status:?}"
    );
    container.wait_log("told to end", SOON).await?;
    pod.remove().await?;
    Ok(())
}

async fn logs(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    const LINES: usize = 500;
    let pod = node.cri().run_pod("logs", handler).await?;
    let spec = ContainerSpec::new("printer", &node.native_image().await?).args(&["print", "500"]);
    let container = pod.run(&spec).await?;
    container.wait_exit(SOON).await?;
    container.wait_log("err 499", SOON).await?;
    for (stream, word) in [(Stream::Out, "out"), (Stream::Err, "err")] {
        let lines = container
            .wait_log(&format!("{word} {}", LINES - 1), SOON)
            .await?;
        let texts: Vec<_> = lines
            .into_iter()
            .filter(|line| line.stream == stream)
            .map(|line| line.text)
            .collect();
        let wanted: Vec<_> = (0..LINES).map(|line| format!("{word} {line}")).collect();
        assert_eq!(texts, wanted);
    }
    pod.remove().await?;
    Ok(())
}

async fn exit_code(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("exits", handler).await?;
    let spec = ContainerSpec::new("ender", &node.native_image().await?).args(&["exit", "7"]);
    let status = pod.run(&spec).await?.wait_exit(SOON).await?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (7, "Error"),
        "{status:?}"
    );
    pod.remove().await?;
    Ok(())
}

async fn killed(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("grows", handler).await?;
    let spec = ContainerSpec::new("grower", &node.native_image().await?)
        .args(&["grow"])
        .memory_limit(32 << 20);
    let status = pod.run(&spec).await?.wait_exit(SOON).await?;
    assert_eq!(status.exit_code, 137, "{status:?}");
    pod.remove().await?;
    // runc's own shim tells it without waiting, and may be late.
    ensure!(
        status.reason == "OOMKilled" || handler == "runc",
        "the reason is not told: {status:?}"
    );
    Ok(())
}

async fn volume(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let folder = node.scratch(&format!("volume-{handler}"))?;
    let pod = node.cri().run_pod("writes", handler).await?;
    let spec = ContainerSpec::new("writer", &node.native_image().await?)
        .args(&["write", "/data/file", "written"])
        .mount(&folder, "/data");
    let status = pod.run(&spec).await?.wait_exit(SOON).await?;
    assert_eq!(status.exit_code, 0, "{status:?}");
    assert_eq!(std::fs::read_to_string(folder.join("file"))?, "written");
    pod.remove().await?;
    Ok(())
}

async fn as_a_task(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let runtime = if handler == "runc" {
        "io.containerd.runc.v2"
    } else {
        SKIFF
    };
    let image = node.native_image().await?;
    let id = format!("native-{handler}");
    let spec = TaskSpec::new(&id, &image, runtime).args(&["/native", "exit", "9"]);
    let finished = node.containerd().run_task(&spec).await?;
    assert_eq!(finished.status.code(), Some(9), "{finished:?}");
    let port = node.port().to_string();
    let spec = TaskSpec::new(&id, &image, runtime).args(&["/native", "serve", &port]);
    let task = node.containerd().spawn_task(&spec)?;
    let reply = http::get_until_ok(&format!("http://127.0.0.1:{port}/"), SOON).await?;
    assert_eq!(reply.text(), "native");
    node.containerd().signal_task(&task, "SIGTERM").await?;
    let finished = task.finished().await?;
    ensure!(finished.status.success(), "{finished:?}");
    ensure!(finished.stdout.contains("told to end"), "{finished:?}");
    Ok(())
}

/// Proves the search for leftovers: all that a running pod has is found.
async fn what_is_left_would_be_seen(node: Arc<Node>) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("seen", "runc").await?;
    let spec = ContainerSpec::new("server", &node.native_image().await?).args(&["serve", "80"]);
    pod.run(&spec).await?;
    let left = node.containerd().leftovers(Duration::ZERO);
    for word in [
        "process",
        "mount",
        "cgroup",
        "network namespace",
        "interface",
    ] {
        let seen = left.iter().any(|left| left.to_string().starts_with(word));
        ensure!(seen, "no {word} of a running pod is seen");
    }
    pod.remove().await?;
    Ok(())
}

async fn again(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("again", handler).await?;
    let spec = ContainerSpec::new("server", &node.native_image().await?).args(&["serve", "80"]);
    for _ in 0..2 {
        let container = pod.run(&spec).await?;
        let reply = http::get_until_ok(&pod.url(80, "/"), SOON).await?;
        assert_eq!(reply.text(), "native");
        container.stop(Duration::from_secs(10)).await?;
        container.remove().await?;
    }
    pod.remove().await?;
    Ok(())
}
