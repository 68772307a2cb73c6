//! Starting, stopping, and running beside others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use http::Method;
use rustix::process::Signal;
use skiff_test_support::http::{Protocol, get_until_ok, send};
use skiff_test_support::pod::State;
use skiff_test_support::{ContainerSpec, LinuxContainerResources, measure, processes};

use crate::apps::Kind;
use crate::cases;
use crate::harness::Case;
use crate::node::Node;
use crate::pods::{GRACE, Refusal, SOON, Served};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = cases![
        sigterm_lets_a_request_in_flight_finish,
        work_after_an_answer_is_finished_before_the_end,
        a_request_over_the_drain_time_is_cut_off,
        a_pod_is_reached_until_the_cluster_has_heard_that_it_goes,
        nothing_is_accepted_after_sigterm_and_the_shutdown_delay,
        a_linux_container_runs_beside_a_wasm_one,
        a_taken_port_is_told,
        a_container_can_be_replaced_in_its_pod,
        a_killed_container_leaves_its_pod_usable,
        a_killed_shim_ends_its_container_and_leaves_nothing,
        http_2_with_prior_knowledge_is_served,
        a_guest_that_wants_all_memory_of_its_pod_is_refused_more_and_the_pod_lives_on,
        guests_have_what_their_pod_has_after_a_resize,
        a_small_share_of_a_core_is_enough_to_start,
    ];
    let alone = cases![many_pods_start_at_once].into_iter().map(Case::alone);
    cases.extend(alone);
    cases
}

async fn app(node: &Node, guest: &str) -> anyhow::Result<ContainerSpec> {
    let image = node.guest_image(Kind::Spin, guest).await?;
    Ok(Kind::Spin.container("app", &image))
}

/// Sends a request in the background and returns once the guest is handling it, as far as
/// a client can know: a later one was answered.
async fn in_flight(
    served: &Served,
    path: &str,
) -> anyhow::Result<tokio::task::JoinHandle<anyhow::Result<String>>> {
    let url = served.pod.url(80, path);
    let asked = tokio::spawn(async move {
        let reply = skiff_test_support::http::get(&url).await?;
        ensure!(reply.status == 200, "{}", reply.status);
        Ok(reply.text())
    });
    tokio::task::yield_now().await;
    for _ in 0..5 {
        served.get("/.well-known/spin/health").await?;
    }
    Ok(asked)
}

async fn sigterm_lets_a_request_in_flight_finish(node: Arc<Node>) -> anyhow::Result<()> {
    let served = Served::start(&node, "drains", &app(&node, "sleep").await?).await?;
    let asked = in_flight(&served, "/?ms=2000").await?;
    served.container.stop(GRACE).await?;
    assert_eq!(asked.await??, "slept 2000 ms\n");
    let status = served.container.status().await?;
    assert_eq!(
        (status.state, status.exit_code),
        (State::Exited, 0),
        "{status:?}"
    );
    served.pod.remove().await?;
    Ok(())
}

async fn work_after_an_answer_is_finished_before_the_end(node: Arc<Node>) -> anyhow::Result<()> {
    let served = Served::start(&node, "works-on", &app(&node, "works-after-answer").await?).await?;
    assert_eq!(served.get("/?ms=1000").await?.text(), "answered\n");
    served.container.wait_log("work begins", SOON).await?;
    served.container.stop(GRACE).await?;
    served.container.wait_log("work ends", SOON).await?;
    served.pod.remove().await?;
    Ok(())
}

async fn a_request_over_the_drain_time_is_cut_off(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = app(&node, "sleep")
        .await?
        .env("SKIFF_DRAIN_TIMEOUT", "500ms");
    let served = Served::start(&node, "drains-short", &spec).await?;
    let asked = in_flight(&served, "/?ms=3600000").await?;
    let began = Instant::now();
    served.container.stop(GRACE).await?;
    ensure!(began.elapsed() < GRACE, "only SIGKILL ended it");
    ensure!(asked.await?.is_err(), "the answer came whole");
    let status = served.container.status().await?;
    assert_eq!(status.exit_code, 0, "{status:?}");
    served.pod.remove().await?;
    Ok(())
}

async fn a_pod_is_reached_until_the_cluster_has_heard_that_it_goes(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let served = Served::start(&node, "lingers", &app(&node, "sleep").await?).await?;
    let stop = served.container.stop(GRACE);
    let asks = async {
        while served.get("/.well-known/spin/health").await?.status != 503 {}
        let reply = served.get("/?ms=1").await?;
        assert_eq!(reply.text(), "slept 1 ms\n");
        assert_eq!(reply.header("connection"), "close");
        anyhow::Ok(())
    };
    let (stopped, asked) = tokio::join!(stop, asks);
    stopped?;
    asked?;
    served.pod.remove().await?;
    Ok(())
}

async fn nothing_is_accepted_after_sigterm_and_the_shutdown_delay(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let spec = app(&node, "sleep").await?.env("SKIFF_SHUTDOWN_DELAY", "0s");
    let served = Served::start(&node, "closes", &spec).await?;
    let asked = in_flight(&served, "/?ms=1500").await?;
    let url = served.pod.url(80, "/?ms=0");
    let stop = served.container.stop(GRACE);
    let refused = async {
        // While the slow request is still in flight, new ones must be refused.
        while skiff_test_support::http::get(&url).await.is_ok() {
            ensure!(!asked.is_finished(), "it accepted until its end");
        }
        Ok(())
    };
    let (stopped, refused) = tokio::join!(stop, refused);
    stopped?;
    refused?;
    asked.await??;
    served.pod.remove().await?;
    Ok(())
}

async fn a_linux_container_runs_beside_a_wasm_one(node: Arc<Node>) -> anyhow::Result<()> {
    let served = Served::start(&node, "sidecar", &app(&node, "hello").await?).await?;
    let native = node.native_image().await?;
    let sidecar = ContainerSpec::new("sidecar", &native).args(&["serve", "9090"]);
    let sidecar = served.pod.run(&sidecar).await?;
    let reply = get_until_ok(&served.pod.url(9090, "/"), SOON).await?;
    assert_eq!(reply.text(), "native");
    assert_eq!(served.get("/").await?.text(), "Hello from Wasm\n");
    sidecar.stop(GRACE).await?;
    let status = sidecar.status().await?;
    assert_eq!(status.exit_code, 0, "{status:?}");
    assert_eq!(served.get("/").await?.status, 200, "the other goes on");
    assert_eq!(served.end().await?, 0);
    Ok(())
}

async fn a_taken_port_is_told(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = app(&node, "hello").await?;
    let served = Served::start(&node, "port-taken", &spec).await?;
    let image = node.guest_image(Kind::Spin, "hello").await?;
    let second = Kind::Spin.container("second", &image);
    let refusal = Refusal::within(&served.pod, second).await?;
    refusal.tells(&["[::]:80", "in use"])?;
    assert_eq!(served.get("/").await?.status, 200, "the first goes on");
    served.end().await?;
    Ok(())
}

async fn a_container_can_be_replaced_in_its_pod(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = app(&node, "hello").await?;
    let mut served = Served::start(&node, "replaced", &spec).await?;
    for _ in 0..3 {
        served.container.stop(GRACE).await?;
        served.container.remove().await?;
        let container = served.pod.run(&spec).await?;
        served = Served {
            pod: served.pod,
            container,
        };
        served.healthy(80).await?;
        assert_eq!(served.get("/").await?.text(), "Hello from Wasm\n");
    }
    served.end().await?;
    Ok(())
}

async fn a_killed_container_leaves_its_pod_usable(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = app(&node, "sleep").await?;
    let served = Served::start(&node, "killed", &spec).await?;
    let asked = in_flight(&served, "/?ms=3600000").await?;
    // Without grace it is SIGKILL.
    served.container.stop(Duration::ZERO).await?;
    let status = served.container.status().await?;
    assert_eq!(
        (status.state, status.exit_code),
        (State::Exited, 137),
        "{status:?}"
    );
    ensure!(asked.await?.is_err(), "the answer came whole");
    served.container.remove().await?;
    let container = served.pod.run(&spec).await?;
    let served = Served {
        pod: served.pod,
        container,
    };
    served.healthy(80).await?;
    served.end().await?;
    Ok(())
}

async fn a_killed_shim_ends_its_container_and_leaves_nothing(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let served = Served::start(&node, "orphaned", &app(&node, "hello").await?).await?;
    let shims = processes::roots_with_argument(served.pod.id());
    processes::signal(shims.first().context("no shim runs")?.pid, Signal::KILL);
    served.container.wait_exit(SOON).await?;
    ensure!(served.get("/").await.is_err(), "the application goes on");
    // Its leftovers are searched when the node ends.
    served.container.remove().await?;
    served.pod.remove().await?;
    Ok(())
}

async fn http_2_with_prior_knowledge_is_served(node: Arc<Node>) -> anyhow::Result<()> {
    let served = Served::start(&node, "http-2", &app(&node, "echo").await?).await?;
    let body = "x".repeat(100_000);
    for protocol in [Protocol::One, Protocol::Two] {
        let url = served.pod.url(80, "/");
        let reply = send(protocol, Method::POST, &url, &[], body.clone()).await?;
        ensure!(
            reply.text() == body,
            "{protocol:?}: {} bytes come back",
            reply.body.len()
        );
    }
    served.end().await?;
    Ok(())
}

async fn a_guest_that_wants_all_memory_of_its_pod_is_refused_more_and_the_pod_lives_on(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let spec = app(&node, "eat-memory").await?.memory_limit(96 << 20);
    let served = Served::start(&node, "all-memory", &spec).await?;
    assert_eq!(served.get("/?mib=16").await?.text(), "16 MiB\n");
    for _ in 0..3 {
        assert_eq!(served.get("/").await?.status, 500);
        assert_eq!(served.get("/?mib=16").await?.text(), "16 MiB\n");
    }
    let status = served.container.status().await?;
    assert_eq!(status.state, State::Running, "{status:?}");
    served.end().await?;
    Ok(())
}

async fn guests_have_what_their_pod_has_after_a_resize(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = app(&node, "eat-memory").await?.memory_limit(96 << 20);
    let served = Served::start(&node, "resized-guests", &spec).await?;
    for (mib, status) in [(96, 500), (256, 200), (96, 500)] {
        let limits = LinuxContainerResources {
            memory_limit_in_bytes: mib << 20,
            memory_swap_limit_in_bytes: mib << 20,
            ..LinuxContainerResources::default()
        };
        // The kernel refuses a limit below current use.
        let until = Instant::now() + SOON;
        while let Err(error) = served.container.update(limits.clone()).await {
            ensure!(Instant::now() < until, "{mib} MiB: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for _ in 0..4 {
            assert_eq!(served.get("/?mib=100").await?.status, status, "{mib} MiB");
        }
    }
    let status = served.container.status().await?;
    assert_eq!(status.state, State::Running, "{status:?}");
    served.end().await?;
    Ok(())
}

async fn a_small_share_of_a_core_is_enough_to_start(node: Arc<Node>) -> anyhow::Result<()> {
    let spec = app(&node, "hello")
        .await?
        .cpu_limit(100)
        .memory_limit(64 << 20);
    let served = Served::start(&node, "small-share", &spec).await?;
    assert_eq!(served.get("/").await?.text(), "Hello from Wasm\n");
    served.end().await?;
    Ok(())
}

async fn many_pods_start_at_once(node: Arc<Node>) -> anyhow::Result<()> {
    const PODS: usize = 12;
    // An image that no other case uses, so all of them find it uncompiled.
    let app = crate::apps::App::of_guest("count")?.component("description = \"many\"");
    let image = node.app_image("many", Kind::Spin, &app).await?;
    let started = (0..PODS).map(|number| {
        let (node, image) = (Arc::clone(&node), image.clone());
        async move {
            let spec = Kind::Spin.container("app", &image);
            Served::start(&node, &format!("many-{number}"), &spec).await
        }
    });
    let pods = try_join_all(started).await?;
    for served in &pods {
        assert_eq!(served.get("/").await?.status, 200);
    }
    let first = measure::processes_of(pods[0].pod.id());
    ensure!(
        !first.is_empty(),
        "no shim of {} is found",
        pods[0].pod.id()
    );
    let memory = measure::memory_of(&first);
    ensure!(memory.pss > 0, "{memory:?} of {first:?}");
    let shims: Vec<_> = pods
        .iter()
        .map(|served| served.pod.id().to_owned())
        .collect();
    try_join_all(pods.into_iter().map(Served::end)).await?;
    for id in shims {
        let left = processes::wait_gone(|| measure::processes_of(&id), SOON);
        ensure!(left.is_empty(), "of pod {id} these are left: {left:?}");
    }
    Ok(())
}
