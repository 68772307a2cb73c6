//! Linux containers, under runc to verify the suite itself, and in pods of the shim,
//! where they must work as well.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use skiff_test_support::LinuxContainerResources;
use skiff_test_support::ctr::TaskSpec;
use skiff_test_support::logs::Stream;
use skiff_test_support::oci::Image;
use skiff_test_support::pod::State;
use skiff_test_support::{ContainerSpec, http, processes};

use crate::cases;
use crate::harness::Case;
use crate::node::{Node, SKIFF};

/// How long a Linux container may take to start, serve or end.
const SOON: Duration = Duration::from_secs(20);

/// How long some thousand processes may take.
const LONG: Duration = Duration::from_secs(120);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = cases![
        what_is_left_would_be_seen,
        a_shim_is_killed_for_memory_no_later_than_runcs,
    ];
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
        Case::new(name("tells_that_a_child_was_out_of_memory"), move |node| {
            killed_child(node, handler)
        }),
        Case::new(name("gets_new_limits_while_it_runs"), move |node| {
            resized(node, handler)
        }),
        Case::new(name("sees_the_end_of_its_standard_input"), move |node| {
            reads(node, handler)
        }),
        Case::new(
            name("starts_where_the_pod_had_many_processes"),
            move |node| shares(node, handler),
        ),
        Case::new(name("ends_where_its_interpreter_is_missing"), move |node| {
            without_interpreter(node, handler)
        }),
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
    container.wait_log("ended on SIGTERM", SOON).await?;
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
    // runc's own shim reports it asynchronously, and may be late.
    ensure!(
        status.reason == "OOMKilled" || handler == "runc",
        "the reason is missing: {status:?}"
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
    let runtime = runtime(handler);
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
    ensure!(finished.stdout.contains("ended on SIGTERM"), "{finished:?}");
    Ok(())
}

async fn killed_child(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("grows-child", handler).await?;
    let spec = ContainerSpec::new("grower", &node.native_image().await?)
        .args(&["grow-child"])
        .memory_limit(32 << 20);
    let status = pod.run(&spec).await?.wait_exit(SOON).await?;
    pod.remove().await?;
    assert_eq!(status.exit_code, 0, "{status:?}");
    // runc's own shim reports it asynchronously, and may be late.
    ensure!(
        status.reason == "OOMKilled" || handler == "runc",
        "the reason is missing: {status:?}"
    );
    Ok(())
}

async fn resized(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("resized", handler).await?;
    let spec = ContainerSpec::new("server", &node.native_image().await?)
        .args(&["serve", "8080"])
        .memory_limit(64 << 20)
        .cpu_limit(100);
    let container = pod.run(&spec).await?;
    let limits = |bytes: i64, quota: i64| LinuxContainerResources {
        memory_limit_in_bytes: bytes,
        memory_swap_limit_in_bytes: bytes,
        cpu_period: 100_000,
        cpu_quota: quota,
        cpu_shares: 300,
        ..LinuxContainerResources::default()
    };
    // More, then less than at first: each order of writing two files would fail for one
    // of them.
    for (bytes, quota) in [(128 << 20, 50_000), (48 << 20, 20_000)] {
        container.update(limits(bytes, quota)).await?;
        let found = node.containerd().run().cgroups().groups();
        let own = found.iter().filter(|group| group.ends_with(container.id()));
        let read = |names: [&str; 2]| {
            let files = own
                .clone()
                .flat_map(|group| names.map(|name| group.join(name)));
            let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
            texts.map(|text| text.trim().to_owned()).collect::<Vec<_>>()
        };
        let memory = read(["memory.limit_in_bytes", "memory.max"]);
        assert_eq!(memory, [bytes.to_string()], "memory, after {quota}");
        let processor = read(["cpu.cfs_quota_us", "cpu.max"]);
        let [processor] = processor.as_slice() else {
            anyhow::bail!("no limit of the processor: {processor:?}");
        };
        ensure!(processor.starts_with(&quota.to_string()), "{processor}");
    }
    pod.remove().await?;
    Ok(())
}

async fn reads(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    // More than a pipe holds: its end comes only if the task reads.
    const BYTES: usize = 1 << 20;
    let image = node.native_image().await?;
    let spec = TaskSpec::new(&format!("reads-{handler}"), &image, runtime(handler))
        .args(&["/native", "read"])
        .stdin(vec![b'x'; BYTES]);
    let finished = tokio::time::timeout(SOON, node.containerd().run_task(&spec)).await;
    let finished = finished.context("its standard input does not end")??;
    let wanted = format!("read {BYTES} bytes");
    ensure!(finished.stdout.contains(&wanted), "{finished:?}");
    Ok(())
}

/// Pods of the suite share a process namespace. Ids in it are not in use on the node by
/// then.
async fn shares(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let image = node.native_image().await?;
    let pod = node.cri().run_pod("shares", handler).await?;
    let spawner = ContainerSpec::new("spawner", &image).args(&["spawn", "2000"]);
    let status = pod.run(&spawner).await?.wait_exit(LONG).await?;
    assert_eq!(status.exit_code, 0, "{status:?}");
    for number in 0..3 {
        let spec = ContainerSpec::new(&format!("server-{number}"), &image).args(&["exit", "0"]);
        let status = pod.run(&spec).await?.wait_exit(SOON).await?;
        assert_eq!(status.exit_code, 0, "{status:?}");
    }
    pod.remove().await?;
    Ok(())
}

async fn without_interpreter(node: Arc<Node>, handler: &str) -> anyhow::Result<()> {
    let image = node
        .image("no-interpreter", |folder| {
            let script = folder.join("script");
            std::fs::write(&script, "#!/no/such/interpreter\n")?;
            let image = Image::linux().copy(&script, "script", 0o755)?;
            Ok(image
                .entrypoint(&["/script"])
                .write(folder.join("layout"))?)
        })
        .await?;
    let pod = node.cri().run_pod("no-interpreter", handler).await?;
    let container = pod.run(&ContainerSpec::new("script", &image)).await?;
    let status = container.wait_exit(SOON).await?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (1, "Error"),
        "{status:?}"
    );
    pod.remove().await?;
    Ok(())
}

fn runtime(handler: &str) -> &'static str {
    match handler {
        "runc" => "io.containerd.runc.v2",
        _ => SKIFF,
    }
}

async fn a_shim_is_killed_for_memory_no_later_than_runcs(node: Arc<Node>) -> anyhow::Result<()> {
    let mut scores = Vec::new();
    for handler in ["runc", "skiff"] {
        let pod = node.cri().run_pod("scored", handler).await?;
        let shims = processes::with_argument(pod.id());
        let shim = shims
            .iter()
            .find(|one| one.command.contains("containerd-shim-"));
        let shim = shim.context("the pod has no shim")?;
        let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", shim.pid))?;
        scores.push(score);
        pod.remove().await?;
    }
    assert_eq!(scores[0], scores[1]);
    Ok(())
}

/// Verifies the search for leftovers: it finds everything of a running pod.
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
