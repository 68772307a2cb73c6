//! Pods by the hundreds, one after the other.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use skiff_test_support::cri::take_events;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::cases;
use crate::harness::Case;
use crate::manifests::{SKIFF, deployment, spec, wasm};
use crate::places::{CONTAINERD_DEBUG, CONTAINERD_SOCKET};
use crate::space::Space;
use crate::wait::{Look, wait_until};

/// Pods at once.
const AT_ONCE: usize = 50;

/// How often they come and go.
const ROUNDS: usize = 10;

/// Rounds after which containerd's caches are full.
const SETTLED: usize = 3;

/// How much containerd's memory use may grow for each deleted pod, in KiB.
const GROWTH: u64 = 4;

/// How many more goroutines there may be: connections come and go.
const GOROUTINES: u64 = 20;

/// How long a round may take, each way.
const ROUND_WITHIN: Duration = Duration::from_secs(240);

pub(super) fn cases() -> Vec<Case> {
    let cases = cases![five_hundred_pods_come_and_go_and_leave_nothing];
    cases
        .into_iter()
        .map(|case| case.alone().own().within(Duration::from_secs(2400)))
        .collect()
}

async fn five_hundred_pods_come_and_go_and_leave_nothing(
    space: Space,
) -> anyhow::Result<Vec<String>> {
    let image = space.guest("hello")?;
    let spec = spec(Some(SKIFF), &[wasm("app", &image)]);
    space.apply(&[deployment("crowd", 0, spec)]).await?;
    for _ in 0..SETTLED {
        come_and_go(&space).await?;
    }
    let before = Held::at_rest(&space).await?;
    for _ in SETTLED..ROUNDS {
        come_and_go(&space).await?;
    }
    let after = Held::at_rest(&space).await?;
    let gone = ((ROUNDS - SETTLED) * AT_ONCE) as u64;
    ensure!(
        after.heap <= before.heap + gone * GROWTH
            && after.goroutines <= before.goroutines + GOROUTINES,
        "containerd grows: it used {before} after {SETTLED} rounds, and now {after}"
    );
    Ok(vec![format!(
        "{} pods; containerd used {before} after {SETTLED} rounds, {after} after {ROUNDS}",
        AT_ONCE * ROUNDS
    )])
}

/// Starts this many pods at once, and ends them.
async fn come_and_go(space: &Space) -> anyhow::Result<()> {
    for replicas in [AT_ONCE, 0] {
        let wanted = format!("--replicas={replicas}");
        space
            .kubectl(&["scale", "deployment/crowd", &wanted])
            .await?;
        space.rolled_out("deployment/crowd", ROUND_WITHIN).await?;
    }
    wait_until("the end of all pods", ROUND_WITHIN, || async {
        let pods = space.list(&["pods"]).await?;
        Ok(Look::at(pods.is_empty(), format!("{} pods", pods.len())))
    })
    .await
}

/// containerd's memory use as Go counts it after a garbage collection. The size of its
/// process says little, as memory is returned lazily. Events of containers, which it
/// keeps for five minutes, under runc too, do not count either.
struct Held {
    /// Memory in use, in KiB.
    heap: u64,
    goroutines: u64,
}

impl Held {
    /// Measured when nothing of any pod is left: kubelet keeps sandboxes for a while.
    async fn at_rest(space: &Space) -> anyhow::Result<Self> {
        let left = space.cluster().own()?.leftovers(ROUND_WITHIN).await;
        let left: Vec<_> = left.iter().map(ToString::to_string).collect();
        ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        take_events(Path::new(CONTAINERD_SOCKET)).await?;
        let heap = number_after("# HeapAlloc = ", &profile("heap?gc=1&debug=1").await?)?;
        let goroutines = profile("goroutine?debug=1").await?;
        Ok(Self {
            heap: heap >> 10,
            goroutines: number_after("goroutine profile: total ", &goroutines)?,
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} KiB and {} goroutines", self.heap, self.goroutines)
    }
}

/// One of the profiles of a Go program.
async fn profile(name: &str) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(CONTAINERD_DEBUG)
        .await
        .context("containerd's debug socket does not answer")?;
    let request = format!("GET /debug/pprof/{name} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn number_after(label: &str, text: &str) -> anyhow::Result<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label));
    let number = rest.and_then(|rest| rest.trim().parse().ok());
    number.with_context(|| format!("no `{label}` in a profile of containerd"))
}
