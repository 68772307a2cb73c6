//! Figures compared with a native server under runc, in one run.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::Value;
use skiff_test_support::{http, measure};

use super::rolling::restarted;
use crate::cases;
use crate::harness::Case;
use crate::images::NATIVE;
use crate::manifests::{SKIFF, deployment, native, pod, spec, wasm};
use crate::places::ADDRESSES;
use crate::space::{SOON, Space};
use crate::wait::{Look, wait_until};

/// Pods whose start is timed, of each kind.
const STARTS: usize = 9;

/// Pods of a Deployment.
const CROWD: u32 = 40;

/// Deployments that are timed, of each kind.
const CROWDS: usize = 3;

/// How long a Deployment of that size may take, each way.
const CROWD_WITHIN: Duration = Duration::from_secs(240);

/// How much longer than runc's our Deployment may take to become available.
const LATER: f64 = 1.1;

/// How much more memory than runc's our pod may take.
const LARGER: f64 = 1.5;

/// Rolling restarts of the native server, which does not drain.
const NATIVE_RESTARTS: usize = 5;

pub(super) fn cases() -> Vec<Case> {
    let cases = cases![
        a_pod_answers_as_soon_as_a_native_one,
        forty_pods_are_available_as_soon_and_take_as_little_as_native_ones,
        rolling_restarts_of_a_native_server_lose_requests,
    ];
    cases
        .into_iter()
        .map(|case| case.alone().own().within(Duration::from_secs(1800)))
        .collect()
}

/// The pods of both kinds, ours first.
fn both(space: &Space) -> anyhow::Result<[(&'static str, Value); 2]> {
    let image = space.guest("hello")?;
    Ok([
        ("skiff", spec(Some(SKIFF), &[wasm("app", &image)])),
        ("runc", spec(None, &[native("app", &space.image(NATIVE))])),
    ])
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn a_pod_answers_as_soon_as_a_native_one(space: Space) -> anyhow::Result<Vec<String>> {
    let kinds = both(&space)?;
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..=STARTS {
        for (took, (kind, spec)) in took.iter_mut().zip(&kinds) {
            let seconds = apply_to_answer(&space, &format!("{kind}-{round}"), spec).await?;
            // The first of each pulls and compiles.
            if round > 0 {
                took.push(seconds);
            }
        }
    }
    let [ours, runc] = took.map(median);
    Ok(vec![format!(
        "`kubectl apply` to the first 200, median of {STARTS}: skiff {ours:.2} s, runc {runc:.2} s ({:.2} times)",
        ours / runc
    )])
}

/// The time from `kubectl apply` to the first 200 of a pod. Its address is known as soon
/// as the network plugin records it.
async fn apply_to_answer(space: &Space, name: &str, spec: &Value) -> anyhow::Result<f64> {
    const LOOK: Duration = Duration::from_millis(1);
    let before = addresses();
    let began = Instant::now();
    let objects = [pod(name, spec.clone())];
    let answered = async {
        let address = loop {
            if let Some(address) = addresses().difference(&before).next() {
                break SocketAddr::new(*address, 80);
            }
            ensure!(began.elapsed() < SOON, "the pod gets no address");
            tokio::time::sleep(LOOK).await;
        };
        http::get_until_ok(&format!("http://{address}/"), SOON).await?;
        anyhow::Ok(began.elapsed().as_secs_f64())
    };
    let (applied, answered) = tokio::join!(space.apply(&objects), answered);
    applied?;
    space
        .kubectl(&["delete", "pod", name, "--grace-period=1"])
        .await?;
    answered
}

/// The addresses that pods hold.
fn addresses() -> BTreeSet<IpAddr> {
    let Ok(entries) = fs::read_dir(format!("{ADDRESSES}/pods")) else {
        return BTreeSet::new();
    };
    let names = entries.flatten().filter_map(|entry| {
        // Besides them there are a lock and the last address given.
        entry.file_name().to_str()?.parse().ok()
    });
    names.collect()
}

async fn forty_pods_are_available_as_soon_and_take_as_little_as_native_ones(
    space: Space,
) -> anyhow::Result<Vec<String>> {
    let kinds = both(&space)?;
    let mut available = [Vec::new(), Vec::new()];
    let mut memory = [Vec::new(), Vec::new()];
    let mut gone = [Vec::new(), Vec::new()];
    for _ in 0..CROWDS {
        for (index, (kind, spec)) in kinds.iter().enumerate() {
            let crowd = crowd(&space, kind, spec).await?;
            available[index].push(crowd.available);
            memory[index].push(crowd.memory);
            gone[index].push(crowd.gone);
        }
    }
    let [ours, runc] = available.map(median);
    let [our_memory, runc_memory] = memory.map(median);
    let [our_end, runc_end] = gone.map(median);
    let told = vec![
        format!(
            "{CROWD} pods available, median of {CROWDS}: skiff {ours:.1} s, runc {runc:.1} s ({:.2} times)",
            ours / runc
        ),
        format!(
            "PSS of each with shim and pause: skiff {our_memory:.2} MB, runc {runc_memory:.2} MB ({:.2} times)",
            our_memory / runc_memory
        ),
        format!("until all are gone: skiff {our_end:.1} s, runc {runc_end:.1} s"),
    ];
    ensure!(
        ours <= runc * LATER && our_memory <= runc_memory * LARGER,
        "{}",
        told.join("\n")
    );
    Ok(told)
}

/// The figures of one Deployment.
struct Crowd {
    /// Seconds until available.
    available: f64,
    /// Megabytes a pod.
    memory: f64,
    /// Seconds until its pods were deleted.
    gone: f64,
}

async fn crowd(space: &Space, name: &str, spec: &Value) -> anyhow::Result<Crowd> {
    let others = pods_of_the_node(space)?;
    let began = Instant::now();
    space
        .apply(&[deployment(name, CROWD, spec.clone())])
        .await?;
    let workload = format!("deployment/{name}");
    space.rolled_out(&workload, CROWD_WITHIN).await?;
    let available = began.elapsed().as_secs_f64();
    let mine: BTreeSet<_> = pods_of_the_node(space)?
        .difference(&others)
        .copied()
        .collect();
    let memory = measure::memory_of(&mine).pss as f64 / 1000.0 / f64::from(CROWD);
    let began = Instant::now();
    space.kubectl(&["delete", &workload]).await?;
    wait_until("the end of all pods", CROWD_WITHIN, || async {
        let pods = space.list(&["pods"]).await?;
        Ok(Look::at(pods.is_empty(), format!("{} pods", pods.len())))
    })
    .await?;
    let gone = began.elapsed().as_secs_f64();
    Ok(Crowd {
        available,
        memory,
        gone,
    })
}

/// All processes of the node except the cluster's own parts.
fn pods_of_the_node(space: &Space) -> anyhow::Result<BTreeSet<u32>> {
    let own = space.cluster().own()?;
    let parts = own.parts();
    let mut found = own.scope().cgroups().processes();
    found.retain(|pid| !parts.contains(pid));
    Ok(found)
}

async fn rolling_restarts_of_a_native_server_lose_requests(
    space: Space,
) -> anyhow::Result<Vec<String>> {
    let [_, (name, spec)] = both(&space)?;
    let tally = restarted(&space, name, spec, NATIVE_RESTARTS).await?;
    Ok(vec![format!(
        "{NATIVE_RESTARTS} rolling restarts of a native server without drain: {tally}"
    )])
}
