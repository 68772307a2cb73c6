//! Every sample application does what its README says, in pods and as tasks.

use std::sync::Arc;

use crate::apps::Kind;
use crate::cases::kinds::task_answers;
use crate::harness::Case;
use crate::node::Node;
use crate::pods::Served;

/// A sample, and how the answer to `/` begins or is.
const GREETINGS: [(&str, &str); 4] = [
    ("hello-rust", "Hello from Rust\n"),
    ("hello-wasi", "Hello from WASI\n"),
    ("hello-js", "Hello from JavaScript\n"),
    ("hello-python", "Hello from Python\n"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (sample, greeting) in GREETINGS {
        for kind in Kind::ALL {
            let name = format!("samples::{sample}::{}_greets_in_a_pod", kind.word());
            cases.push(Case::new(name, move |node| {
                in_a_pod(node, kind, sample, greeting)
            }));
        }
        let name = format!("samples::{sample}::greets_as_a_task");
        cases.push(Case::new(name, move |node| {
            as_a_task(node, sample, greeting)
        }));
    }
    for kind in [Kind::Spin, Kind::Manifest] {
        let name = format!("samples::static-site::{}_serves_its_files", kind.word());
        cases.push(Case::new(name, move |node| site(node, kind)));
    }
    cases
}

async fn in_a_pod(node: Arc<Node>, kind: Kind, sample: &str, greeting: &str) -> anyhow::Result<()> {
    let image = node.sample_image(kind, sample).await?;
    let spec = kind.container("app", &image);
    let served = Served::start(&node, &format!("{sample}-{}", kind.word()), &spec).await?;
    for _ in 0..3 {
        let reply = served.get("/").await?;
        assert_eq!(
            (reply.status.as_u16(), reply.text().as_str()),
            (200, greeting)
        );
    }
    assert_eq!(served.end().await?, 0);
    Ok(())
}

async fn as_a_task(node: Arc<Node>, sample: &str, greeting: &str) -> anyhow::Result<()> {
    let image = node.sample_image(Kind::Spin, sample).await?;
    task_answers(&node, &format!("task-{sample}"), &image, greeting).await
}

async fn site(node: Arc<Node>, kind: Kind) -> anyhow::Result<()> {
    let image = node.sample_image(kind, "static-site").await?;
    let spec = kind.container("app", &image);
    let served = Served::start(&node, &format!("site-{}", kind.word()), &spec).await?;
    let home = served.get("/").await?;
    assert_eq!(home.status, 200);
    assert!(home.text().contains("<html"), "{}", home.text());
    assert_eq!(served.get("/style.css").await?.status, 200);
    assert_eq!(served.get("/about/").await?.status, 200);
    assert_eq!(served.get("/no/such/page").await?.status, 404);
    let robots = served.get("/robots.txt").await?;
    assert_eq!(robots.text(), "User-agent: *\nAllow: /\n");
    let moved = served.get("/old-home").await?;
    assert_eq!(
        (moved.status.as_u16(), moved.header("location")),
        (301, "/")
    );
    served.end().await?;
    Ok(())
}
