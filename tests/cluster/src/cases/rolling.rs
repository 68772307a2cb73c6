//! Rolling restarts under steady load.

use std::time::Duration;

use anyhow::ensure;
use skiff_test_support::http;

use crate::cases;
use crate::harness::Case;
use crate::load::{Load, Tally};
use crate::manifests::{SKIFF, deployment, service, spec, wasm};
use crate::space::{SOON, Space};

/// How often every pod is replaced.
const RESTARTS: usize = 20;

pub(super) fn cases() -> Vec<Case> {
    let cases = cases![twenty_rolling_restarts_under_load_lose_no_request];
    cases
        .into_iter()
        .map(|case| case.alone().within(Duration::from_secs(1200)))
        .collect()
}

/// Restarts a Deployment of three pods this many times under load.
pub(super) async fn restarted(
    space: &Space,
    name: &str,
    spec: serde_json::Value,
    times: usize,
) -> anyhow::Result<Tally> {
    space
        .apply(&[deployment(name, 3, spec), service(name)])
        .await?;
    let workload = format!("deployment/{name}");
    space.rolled_out(&workload, SOON).await?;
    let address = space.service(name).await?;
    http::get_until_ok(&format!("http://{address}/"), SOON).await?;
    let load = Load::steady(address, "/");
    let mut ran = Ok(());
    for _ in 0..times {
        ran = async {
            space.kubectl(&["rollout", "restart", &workload]).await?;
            space.rolled_out(&workload, SOON).await
        }
        .await;
        if ran.is_err() {
            break;
        }
    }
    // The last pods are still terminating.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let tally = load.end().await?;
    ran?;
    Ok(tally)
}

async fn twenty_rolling_restarts_under_load_lose_no_request(
    space: Space,
) -> anyhow::Result<Vec<String>> {
    let image = space.guest("hello")?;
    let spec = spec(Some(SKIFF), &[wasm("app", &image)]);
    let tally = restarted(&space, "web", spec, RESTARTS).await?;
    ensure!(tally.losses() == 0, "{tally}");
    Ok(vec![tally.to_string()])
}
