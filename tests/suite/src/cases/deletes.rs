//! Two concurrent removals of a container: both return, and the container is removed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use skiff_test_support::pod::State;
use skiff_test_support::{Container, http, processes};

use crate::harness::Case;
use crate::node::Node;
use crate::pods::{SOON, Subject};

/// Two do not collide at every attempt.
const TRIES: usize = 8;

/// Without grace it is SIGKILL.
const NOW: Duration = Duration::ZERO;

/// How long a shim may take to end.
const GONE_WITHIN: Duration = Duration::from_secs(20);

pub(super) fn cases() -> Vec<Case> {
    let of = |subject: Subject| {
        let name = |what: &str| format!("deletes::{}::{what}", subject.word());
        [
            Case::new(name("a_container_that_two_remove_is_gone"), move |node| {
                removed(node, subject)
            }),
            Case::new(
                name("a_container_that_loses_its_task_has_ended"),
                move |node| without_task(node, subject),
            ),
        ]
    };
    Subject::ALL.into_iter().flat_map(of).collect()
}

/// No shim of that id is left.
fn nothing_is_left(id: &str) -> anyhow::Result<()> {
    let left = || {
        let found = processes::with_argument(id).into_iter();
        found.map(|process| process.pid).collect()
    };
    let left = processes::wait_gone(left, GONE_WITHIN);
    ensure!(left.is_empty(), "of {id} these are left: {left:?}");
    Ok(())
}

/// Stops and removes it as kubelet does, and returns whether this call removed it.
/// containerd allows one removal at a time, and answers the other that it is being
/// removed, or is gone.
async fn stop_and_remove(container: Container) -> anyhow::Result<bool> {
    const SECOND: [&str; 2] = ["already in removing state", "not found"];
    let ends = async {
        container.stop(NOW).await?;
        container.clone().remove().await
    };
    let error = match ends.await {
        Ok(()) => return Ok(true),
        Err(error) => error.message(),
    };
    ensure!(SECOND.iter().any(|words| error.contains(words)), "{error}");
    Ok(false)
}

async fn removed(node: Arc<Node>, subject: Subject) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("two-remove", subject.handler()).await?;
    let spec = subject.server(&node).await?;
    // The name and the port are free again.
    for _ in 0..TRIES {
        let container = pod.run(&spec).await?;
        http::get_until_ok(&pod.url(8080, "/"), SOON).await?;
        let ends = || stop_and_remove(container.clone());
        let both = async { tokio::join!(ends(), ends()) };
        let (first, second) = tokio::time::timeout(SOON, both).await?;
        let (first, second) = (first?, second?);
        ensure!(first || second, "no call has removed {}", container.id());
        let status = container.status().await;
        let error = status.err().context("it is still known")?;
        ensure!(error.message().contains("not found"), "{error}");
    }
    let id = pod.id().to_owned();
    pod.remove().await?;
    nothing_is_left(&id)
}

async fn without_task(node: Arc<Node>, subject: Subject) -> anyhow::Result<()> {
    let pod = node.cri().run_pod("two-delete", subject.handler()).await?;
    let spec = subject.server(&node).await?;
    for _ in 0..TRIES {
        let container = pod.run(&spec).await?;
        http::get_until_ok(&pod.url(8080, "/"), SOON).await?;
        let delete = ["tasks", "delete", "--force", container.id()];
        // containerd deletes the task itself when it is notified of the end.
        let both = async {
            let deleted = node.containerd().ctr_of_pods(&delete);
            tokio::join!(deleted, container.stop(NOW))
        };
        let (_, stopped) = tokio::time::timeout(SOON, both).await?;
        stopped?;
        let status = container.status().await?;
        assert_eq!(
            (status.state, status.exit_code),
            (State::Exited, 137),
            "{status:?}"
        );
        container.remove().await?;
    }
    let id = pod.id().to_owned();
    pod.remove().await?;
    nothing_is_left(&id)
}
