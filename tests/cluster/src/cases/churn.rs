//! Pods by the hundreds, one after the other.

use std::time::Duration;

use anyhow::{Context, ensure};
use skiff_test_support::measure;

use crate::cases;
use crate::harness::Case;
use crate::manifests::{SKIFF, deployment, spec, wasm};
use crate::space::Space;
use crate::wait::{Look, wait_until};

/// Pods at once.
const AT_ONCE: usize = 50;

/// How often they come and go.
const ROUNDS: usize = 10;

/// Rounds after which containerd has filled whatever it keeps.
const SETTLED: usize = 3;

/// How much containerd may grow afterwards, in KiB: its garbage collector
/// gives memory back when it likes.
const GROWTH: u64 = 16 << 10;

/// How long a round may take, each way.
const ROUND_WITHIN: Duration = Duration::from_secs(240);

pub(super) fn cases() -> Vec<Case> {
    let cases = cases![five_hundred_pods_come_and_go_and_leave_nothing];
    cases
        .into_iter()
        .map(|case| case.alone().within(Duration::from_secs(2400)))
        .collect()
}

async fn five_hundred_pods_come_and_go_and_leave_nothing(
    space: Space,
) -> anyhow::Result<Vec<String>> {
    let image = space.guest("hello")?;
    let spec = spec(Some(SKIFF), &[wasm("app", &image)]);
    space.apply(&[deployment("crowd", 0, spec)]).await?;
    let mut sizes = Vec::new();
    for _ in 0..ROUNDS {
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
        .await?;
        sizes.push(containerd(&space)?);
    }
    let left = space.cluster().leftovers(ROUND_WITHIN).await;
    let left: Vec<_> = left.iter().map(ToString::to_string).collect();
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));

    let before = sizes[..SETTLED].iter().max().copied().unwrap_or_default();
    let after = sizes.last().copied().unwrap_or_default();
    let told = sizes
        .iter()
        .map(|size| format!("{:.0}", *size as f64 / 1024.0))
        .collect::<Vec<_>>()
        .join(" ");
    ensure!(
        after <= before + GROWTH,
        "containerd's memory grows, MiB after each round: {told}"
    );
    Ok(vec![format!(
        "{} pods; containerd's memory after each round, MiB: {told}",
        AT_ONCE * ROUNDS
    )])
}

/// What containerd's process takes for itself, in KiB.
fn containerd(space: &Space) -> anyhow::Result<u64> {
    let pid = space
        .cluster()
        .with_program("containerd", |program| Ok(program.pid()))?;
    let memory = measure::memory_of(&[pid].into());
    (memory.processes == 1)
        .then_some(memory.private_dirty)
        .context("containerd does not run")
}
