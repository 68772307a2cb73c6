//! Pods that are deleted.

use std::time::{Duration, Instant};

use anyhow::ensure;
use skiff_test_support::http;
use tokio::task::JoinHandle;

use super::pods::address;
use crate::cases;
use crate::harness::Case;
use crate::manifests::{SKIFF, pod, spec, wasm};
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

/// The health endpoint.
const HEALTH: &str = "/.well-known/spin/health";

pub(super) fn cases() -> Vec<Case> {
    cases![
        readiness_fails_first_and_a_request_in_flight_is_answered,
        a_grace_period_ends_what_does_not_end_by_itself,
    ]
}

/// Starts a pod of a guest and sends it a request that is being handled when this
/// returns, as far as a client can know: later requests were answered.
async fn asked(
    space: &Space,
    guest: &str,
    path: &str,
    grace: u64,
) -> anyhow::Result<(String, JoinHandle<anyhow::Result<String>>)> {
    let mut spec = spec(Some(SKIFF), &[wasm("app", &space.guest(guest)?)]);
    spec["terminationGracePeriodSeconds"] = grace.into();
    space.apply(&[pod("ending", spec)]).await?;
    space.wait_for("pod/ending", "condition=Ready").await?;
    let found = space.get(&["pod", "ending"]).await?;
    let server = format!("http://{}", address(&found, 80)?);
    let url = format!("{server}{path}");
    let pending = tokio::spawn(async move {
        let reply = http::get(&url).await?;
        ensure!(reply.status == 200, "{}", reply.status);
        Ok(reply.text())
    });
    tokio::task::yield_now().await;
    for _ in 0..5 {
        http::get(&format!("{server}{HEALTH}")).await?;
    }
    Ok((server, pending))
}

async fn readiness_fails_first_and_a_request_in_flight_is_answered(
    space: Space,
) -> anyhow::Result<()> {
    let (server, pending) = asked(&space, "sleep", "/?ms=8000", 30).await?;
    space
        .kubectl(&["delete", "pod/ending", "--wait=false"])
        .await?;
    wait_until("a health of 503", SOON, || async {
        let reply = http::get(&format!("{server}{HEALTH}")).await?;
        Ok(Look::at(reply.status == 503, reply.status))
    })
    .await?;
    ensure!(!pending.is_finished(), "the request ended before readiness");
    assert_eq!(pending.await??, "slept 8000 ms\n");
    space.wait_for("pod/ending", "delete").await
}

async fn a_grace_period_ends_what_does_not_end_by_itself(space: Space) -> anyhow::Result<()> {
    const GRACE: u64 = 3;
    let (_, pending) = asked(&space, "hang", "/", GRACE).await?;
    let began = Instant::now();
    space.kubectl(&["delete", "pod/ending"]).await?;
    let took = began.elapsed();
    ensure!(
        took >= Duration::from_secs(GRACE),
        "it had {took:?} of {GRACE} s"
    );
    ensure!(
        took < Duration::from_secs(GRACE + 15),
        "it is gone after {took:?}"
    );
    ensure!(pending.await?.is_err(), "the answer came whole");
    Ok(())
}
