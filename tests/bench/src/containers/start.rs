//! The time from create to the first answer: for a cached image, for a whole pod, and for
//! an image that the node has never run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use skiff_test_support::{ContainerSpec, Containerd, Pod};

use super::answered;
use super::entrants::Entrant;
use super::tasks::{TaskError, Tasks};
use crate::options::Options;
use crate::promises::Unit;
use crate::report::Remark;
use crate::run::Run;
use crate::server::free_address;
use crate::{scratch, skiff};

/// Lets work of the last container, such as its shim's exit, finish.
const PAUSE: Duration = Duration::from_millis(100);

/// The port of each server in its own pod.
const POD_PORT: u16 = 80;

/// Measures all three.
pub async fn run(
    options: &Options,
    containerd: &Containerd,
    tasks: &Tasks<'_>,
    everybody: &[Entrant],
    run: &mut Run,
) {
    let plan = options.plan();
    // In this order, because a first start clears our cache.
    for entrant in everybody.iter().filter(|entrant| entrant.is_ours()) {
        for round in 1..=plan.first_starts {
            run.progress(format!("first start of {}, {round}", entrant.key));
            let first = first(containerd, tasks, entrant).await;
            record(run, "first-start", entrant, first);
        }
    }
    let mut warm = Vec::new();
    for entrant in everybody {
        match warm_up(tasks, entrant).await {
            Ok(()) => warm.push(entrant),
            Err(error) => {
                run.all
                    .absent(format!("pod/{}", entrant.key), error.to_string());
                record(run, "start", entrant, Err(error));
            }
        }
    }
    for round in 1..=plan.starts {
        run.progress(format!("starts, round {round} of {}", plan.starts));
        for entrant in &warm {
            let started = task(tasks, entrant).await;
            record(run, "start", entrant, started);
            let started = pod(containerd, entrant).await;
            record(run, "pod", entrant, started);
        }
    }
    run.others.extend(everybody.iter().flat_map(remarks));
}

fn record(run: &mut Run, discipline: &str, entrant: &Entrant, time: Result<Duration, TaskError>) {
    let key = format!("{discipline}/{}", entrant.key);
    match time {
        Ok(time) => run.all.push(key, time.as_secs_f64()),
        Err(error) => {
            run.progress(format!("{key} failed: {error}"));
            run.all.absent(key, error.to_string());
        }
    }
}

fn remarks(entrant: &Entrant) -> Vec<Remark> {
    let remark = |discipline: &str, base: bool, what: &str| Remark {
        key: format!("{discipline}/{}", entrant.key),
        base: base.then(|| format!("{discipline}/runc")),
        what: format!("{what}, {}", entrant.what),
        unit: if base { Unit::Ratio } else { Unit::Seconds },
    };
    if entrant.key == "runc" {
        return vec![remark("start", false, "cached image, create to first 200")];
    }
    let mut rows = vec![remark("pod", true, "whole pod by CRI, times runc")];
    if entrant.is_ours() {
        rows.push(remark("first-start", false, "first start on a node"));
    } else {
        rows.push(remark("start", true, "cached image, times runc"));
    }
    rows
}

/// One start that does not count, to fill all caches.
pub async fn warm_up(tasks: &Tasks<'_>, entrant: &Entrant) -> Result<(), TaskError> {
    let address = free_address()?;
    let id = id();
    let made = tasks.make(&id, &entrant.recipe(address)).await?;
    let started = tasks.start(&made).await;
    let outcome = started.and_then(|()| answered(address, &id));
    if outcome.is_ok() {
        entrant.settle();
    }
    tasks.remove(made).await?;
    outcome
}

/// A container without a pod: from the call that creates its task to its first answer.
async fn task(tasks: &Tasks<'_>, entrant: &Entrant) -> Result<Duration, TaskError> {
    thread::sleep(PAUSE);
    let address = free_address()?;
    let id = id();
    let made = tasks.make(&id, &entrant.recipe(address)).await?;
    let begin = Instant::now();
    let started = tasks.start(&made).await;
    let outcome = started.and_then(|()| answered(address, &id));
    let time = begin.elapsed();
    tasks.remove(made).await?;
    outcome.map(|()| time)
}

/// A pod as kubelet makes it: sandbox with network, container, first answer.
async fn pod(containerd: &Containerd, entrant: &Entrant) -> Result<Duration, TaskError> {
    thread::sleep(PAUSE);
    let begin = Instant::now();
    let pod = containerd.cri().run_pod("bench", entrant.handler).await?;
    let outcome = serve_in(&pod, entrant).await;
    let time = begin.elapsed();
    pod.remove().await?;
    outcome.map(|()| time)
}

async fn serve_in(pod: &Pod, entrant: &Entrant) -> Result<(), TaskError> {
    let recipe = entrant.recipe((Ipv4Addr::UNSPECIFIED, POD_PORT).into());
    let words: Vec<&str> = recipe.arguments.iter().map(String::as_str).collect();
    let (command, arguments) = words.split_at(1);
    let mut spec = ContainerSpec::new("app", &recipe.image)
        .command(command)
        .args(arguments);
    for (name, value) in &recipe.environment {
        spec = spec.env(name, value);
    }
    pod.run(&spec).await?;
    let ip: Ipv4Addr = pod.ip().parse().map_err(std::io::Error::other)?;
    answered(SocketAddr::from((ip, POD_PORT)), pod.id())
}

/// A start on a node that has never seen the image's code. The node's state may only be
/// removed inside the run's own namespaces.
async fn first(
    containerd: &Containerd,
    tasks: &Tasks<'_>,
    entrant: &Entrant,
) -> Result<Duration, TaskError> {
    if containerd.run().is_isolated() {
        scratch::empty(Path::new(skiff::STATE_ON_NODE))?;
    }
    task(tasks, entrant).await
}

/// A new container id.
pub fn id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("bench-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}
