//! Every kind of image is served, in pods and as tasks.

use std::sync::Arc;

use anyhow::{Context, ensure};
use skiff_test_support::ctr::TaskSpec;
use skiff_test_support::http;

use crate::apps::Kind;
use crate::harness::Case;
use crate::node::{Node, SKIFF};
use crate::pods::{SOON, Served};

/// The answer of the guest `hello`.
const HELLO: &str = "Hello from Wasm\n";

pub(super) fn cases() -> Vec<Case> {
    Kind::ALL.into_iter().flat_map(of_kind).collect()
}

fn of_kind(kind: Kind) -> [Case; 3] {
    let name = |what: &str| format!("kinds::{}::{what}", kind.word());
    [
        Case::new(name("is_served_in_a_pod"), move |node| in_a_pod(node, kind)),
        Case::new(name("is_served_as_a_task"), move |node| {
            as_a_task(node, kind)
        }),
        Case::new(name("takes_a_core_module"), move |node| module(node, kind)),
    ]
}

async fn in_a_pod(node: Arc<Node>, kind: Kind) -> anyhow::Result<()> {
    let image = node.guest_image(kind, "hello").await?;
    let spec = kind.container("app", &image);
    let served = Served::start(&node, &format!("kind-{}", kind.word()), &spec).await?;
    for path in ["/", "/any/path?and=query"] {
        let reply = served.get(path).await?;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, HELLO));
    }
    let info = served.get("/.well-known/spin/info").await?.text();
    ensure!(
        info.contains("\"name\""),
        "the info endpoint answers {info:?}"
    );
    assert_eq!(served.end().await?, 0, "SIGTERM ends it well");
    Ok(())
}

async fn as_a_task(node: Arc<Node>, kind: Kind) -> anyhow::Result<()> {
    let image = node.guest_task_image(kind, "hello").await?;
    task_answers(&node, &format!("task-{}", kind.word()), &image, HELLO).await
}

async fn module(node: Arc<Node>, kind: Kind) -> anyhow::Result<()> {
    let image = node.guest_image(kind, "module-hello").await?;
    let spec = kind.container("app", &image);
    let served = Served::start(&node, &format!("module-{}", kind.word()), &spec).await?;
    assert_eq!(served.get("/").await?.text(), HELLO);
    served.end().await?;
    Ok(())
}

/// Runs an image with `ctr run`, sends one request, and ends it as an operator would.
pub(super) async fn task_answers(
    node: &Node,
    id: &str,
    image: &str,
    wanted: &str,
) -> anyhow::Result<()> {
    let address = format!("127.0.0.1:{}", node.port());
    let spec = TaskSpec::new(id, image, SKIFF).env("SPIN_HTTP_LISTEN_ADDR", &address);
    let mut task = node.containerd().spawn_task(&spec)?;
    let url = format!("http://{address}/");
    let reply = tokio::select! {
        reply = http::get_until_ok(&url, SOON) => reply,
        () = task.ended() => anyhow::bail!("it ended: {:?}", task.finished().await?),
    };
    // A restarted containerd removes shims that do not report their processes.
    let processes = node.containerd().task_processes(&task).await?;
    ensure!(!processes.is_empty(), "the task has no processes");
    node.containerd().signal_task(&task, "SIGTERM").await?;
    let finished = task.finished().await?;
    let reply = reply.with_context(|| format!("the task: {finished:?}"))?;
    assert_eq!(reply.text(), wanted, "{finished:?}");
    ensure!(
        finished.status.success(),
        "SIGTERM does not end it well: {finished:?}"
    );
    Ok(())
}
