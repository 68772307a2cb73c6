//! Every sample application does what its README says, in pods and as tasks.

use std::sync::Arc;

use http::Method;
use skiff_test_support::http::{Protocol, send};

use crate::apps::Kind;
use crate::cases::kinds::task_answers;
use crate::harness::Case;
use crate::node::Node;
use crate::pods::{SOON, Served};

/// A sample, and its answer to `/` or the start of it.
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
        let name = |sample: &str, what: &str| format!("samples::{sample}::{}_{what}", kind.word());
        cases.push(Case::new(
            name("static-site", "serves_its_files"),
            move |node| site(node, kind),
        ));
        cases.push(Case::new(
            name("guestbook", "keeps_what_it_is_told"),
            move |node| guestbook(node, kind),
        ));
        cases.push(Case::new(
            name("report", "tells_what_lies_in_a_volume"),
            move |node| report(node, kind),
        ));
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

async fn guestbook(node: Arc<Node>, kind: Kind) -> anyhow::Result<()> {
    let name = format!("guestbook-{}", kind.word());
    let folder = node.scratch(&name)?;
    std::fs::write(folder.join("report.txt"), "of another\n")?;
    let image = node.sample_image(kind, "guestbook").await?;
    let spec = kind
        .container("app", &image)
        .env("SPIN_VARIABLE_GREETING", "Hello")
        .env("SPIN_VARIABLE_ADMIN_TOKEN", "secret")
        .mount(&folder, "/data");
    let served = Served::start(&node, &name, &spec).await?;
    let url = served.pod.url(80, "/");
    for entry in ["Ada\nwas here", "Grace was here"] {
        let signed = send(Protocol::One, Method::POST, &url, &[], entry).await?;
        assert_eq!(signed.status, 201, "{}", signed.text());
    }
    assert_eq!(
        served.get("/").await?.text(),
        "Hello\nAda was here\nGrace was here\n"
    );
    assert_eq!(served.get("/report").await?.text(), "of another\n");
    for (header, status) in [("Bearer guess", 401), ("Bearer secret", 204)] {
        let headers = [("authorization", header)];
        let cleared = send(Protocol::One, Method::DELETE, &url, &headers, "").await?;
        assert_eq!(cleared.status, status, "{}", cleared.text());
    }
    assert_eq!(served.get("/").await?.text(), "Hello\n");
    served.end().await?;
    Ok(())
}

async fn report(node: Arc<Node>, kind: Kind) -> anyhow::Result<()> {
    let name = format!("report-{}", kind.word());
    let folder = node.scratch(&name)?;
    std::fs::write(folder.join("entries.txt"), "Ada was here\n")?;
    let image = node.sample_image(kind, "report").await?;
    let pod = node.cri().run_pod(&name, "skiff").await?;
    for (arguments, code) in [(&["/data", "--to", "/data/report.txt"][..], 0), (&[], 1)] {
        let spec = kind.container(&format!("ends-with-{code}"), &image);
        let spec = spec.args(arguments).mount(&folder, "/data");
        let container = pod.run(&spec).await?;
        let status = container.wait_exit(SOON).await?;
        let lines = container.logs()?;
        assert_eq!(status.exit_code, code, "{status:?} {lines:?}");
    }
    pod.remove().await?;
    assert_eq!(
        std::fs::read_to_string(folder.join("report.txt"))?,
        "entries.txt: 1 lines, 13 bytes\n1 files, 1 lines, 13 bytes\n"
    );
    Ok(())
}
