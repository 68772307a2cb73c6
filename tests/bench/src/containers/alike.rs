//! Memory of identical containers: all of their processes, including shim and helpers,
//! with shared memory counted once; and how much of it remains after a burst of requests.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use skiff_test_support::measure;

use super::answered;
use super::entrants::Entrant;
use super::start::{id, warm_up};
use super::tasks::{Made, TaskError, Tasks};
use crate::options::Options;
use crate::promises::Unit;
use crate::report::Remark;
use crate::run::Run;
use crate::server::{answers, free_address};

/// Requests that each container answers before its memory is measured: memory touched by
/// the first ones belongs to a serving container.
const REQUESTS: usize = 20;

/// Concurrent requests of a burst.
const BURST: usize = 64;

/// How long memory of a burst may be held afterwards.
const CALM: Duration = Duration::from_secs(60);

/// Kilobytes of the kernel in a megabyte.
const KIB_PER_MEGABYTE: f64 = 1_000_000.0 / 1024.0;

/// A running container.
struct Running {
    id: String,
    address: SocketAddr,
    made: Made,
}

/// Memory of identical containers.
struct Figures {
    /// Of each, in megabytes.
    each: f64,
    /// Of each one in the second half, in megabytes.
    further: f64,
    /// Memory after a burst, times before it; only for Skiff, as it takes a minute.
    burst: Option<f64>,
}

/// Measures all entrants, one kind after the other.
pub async fn run(options: &Options, tasks: &Tasks<'_>, everybody: &[Entrant], run: &mut Run) {
    let plan = options.plan();
    run.all.absent(
        "memory/skiff-dense/hello-wasi",
        "there is no dense mode yet",
    );
    for entrant in everybody {
        let count = match entrant.large {
            true => plan.large_alike,
            false => plan.alike,
        };
        run.progress(format!("memory of {count} alike, {}", entrant.key));
        let (memory, further) = keys(entrant);
        match alike(tasks, entrant, count).await {
            Ok(figures) => {
                run.all.push(memory, figures.each);
                run.all.push(further, figures.further);
                if let Some(burst) = figures.burst {
                    run.all.push(format!("burst/{}", entrant.key), burst);
                }
            }
            Err(error) => {
                run.progress(format!("{memory} failed: {error}"));
                run.all.absent(memory, error.to_string());
                run.all.absent(further, error.to_string());
            }
        }
        run.others.extend(remarks(entrant, count));
    }
}

fn keys(entrant: &Entrant) -> (String, String) {
    (
        format!("memory/{}", entrant.key),
        format!("further/{}", entrant.key),
    )
}

fn remarks(entrant: &Entrant, count: usize) -> [Remark; 2] {
    let (memory, further) = keys(entrant);
    let remark = |key, what: String| Remark {
        key,
        base: None,
        what: format!("{what}, {}", entrant.what),
        unit: Unit::Megabytes,
    };
    [
        remark(memory, format!("memory of a container, {count} alike")),
        remark(further, "memory of each further container".to_owned()),
    ]
}

/// Memory of `count` containers.
async fn alike(tasks: &Tasks<'_>, entrant: &Entrant, count: usize) -> Result<Figures, TaskError> {
    // The cache on disk must be complete: a container that compiles is not comparable.
    warm_up(tasks, entrant).await?;
    let mut running = Vec::new();
    let measured = fill(tasks, entrant, count, &mut running).await;
    let mut removed = Ok(());
    for Running { made, .. } in running {
        removed = removed.and(tasks.remove(made).await);
    }
    removed.and(measured)
}

async fn fill(
    tasks: &Tasks<'_>,
    entrant: &Entrant,
    count: usize,
    running: &mut Vec<Running>,
) -> Result<Figures, TaskError> {
    let half = count / 2;
    let mut at_half = 0.0;
    for number in 1..=count {
        let address = free_address()?;
        let id = id();
        let made = tasks.make(&id, &entrant.recipe(address)).await?;
        let started = tasks.start(&made).await;
        running.push(Running {
            id: id.clone(),
            address,
            made,
        });
        started?;
        answered(address, &id)?;
        for _ in 1..REQUESTS {
            answers(address);
        }
        if number == half {
            entrant.settle();
            at_half = megabytes(running);
        }
    }
    entrant.settle();
    let all = megabytes(running);
    let burst = entrant.is_ours().then(|| after_burst(running) / all);
    Ok(Figures {
        each: all / count as f64,
        further: (all - at_half) / (count - half) as f64,
        burst,
    })
}

/// Memory of all containers some time after each had a burst of requests, in megabytes.
fn after_burst(running: &[Running]) -> f64 {
    for container in running {
        thread::scope(|scope| {
            for _ in 0..BURST {
                scope.spawn(|| answers(container.address));
            }
        });
    }
    thread::sleep(CALM);
    megabytes(running)
}

fn megabytes(running: &[Running]) -> f64 {
    let processes: BTreeSet<u32> = running
        .iter()
        .flat_map(|container| measure::processes_of(&container.id))
        .collect();
    measure::memory_of(&processes).pss as f64 / KIB_PER_MEGABYTE
}
