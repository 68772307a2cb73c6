//! Guests' output reaches the container's log, line by line.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use skiff_test_support::logs::{Line, Stream};

use crate::apps::Kind;
use crate::cases;
use crate::harness::Case;
use crate::node::Node;
use crate::pods::{SOON, Served};

pub(super) fn cases() -> Vec<Case> {
    cases![
        lines_printed_in_pieces_are_whole,
        long_lines_of_many_requests_are_not_torn,
        a_trap_is_one_line_with_the_component,
    ]
}

fn texts(lines: &[Line], stream: Stream) -> Vec<&str> {
    lines
        .iter()
        .filter(|line| line.stream == stream)
        .map(|line| line.text.as_str())
        .collect()
}

async fn lines_printed_in_pieces_are_whole(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node.guest_image(Kind::Spin, "print-lines").await?;
    let served = Served::start(&node, "pieces", &Kind::Spin.container("app", &image)).await?;
    assert_eq!(served.get("/").await?.text(), "printed\n");
    // Both, since the streams reach the log independently.
    served
        .container
        .wait_log("stdout without an end", SOON)
        .await?;
    let lines = served
        .container
        .wait_log("stderr without an end", SOON)
        .await?;
    for (stream, word) in [(Stream::Out, "stdout"), (Stream::Err, "stderr")] {
        let printed = texts(&lines, stream);
        for line in ["one", "two", "without an end"] {
            let wanted = format!("{word} {line}");
            ensure!(
                printed.contains(&wanted.as_str()),
                "no line `{wanted}` in {printed:?}"
            );
        }
    }
    served.end().await?;
    Ok(())
}

async fn long_lines_of_many_requests_are_not_torn(node: Arc<Node>) -> anyhow::Result<()> {
    const REQUESTS: usize = 4;
    const LINES: usize = 50;
    const LENGTH: usize = 5000;
    let image = node.guest_image(Kind::Spin, "print-a-lot").await?;
    let served = Served::start(&node, "prints", &Kind::Spin.container("app", &image)).await?;
    let path = format!("/?lines={LINES}&length={LENGTH}");
    let asked = (0..REQUESTS).map(|_| served.get(&path));
    for reply in try_join_all(asked).await? {
        assert_eq!(reply.text(), format!("{LINES} lines\n"));
    }
    // The last line of each request may still be missing.
    served.container.wait_log("out 000049", SOON).await?;
    for (stream, word, filling) in [(Stream::Out, "out", 'o'), (Stream::Err, "err", 'e')] {
        let lines = wait_count(&served, stream, word, REQUESTS * LINES).await?;
        let mut seen = BTreeMap::new();
        for line in texts(&lines, stream)
            .into_iter()
            .filter(|line| line.starts_with(word))
        {
            let (head, rest) = line.split_at_checked(11).context("a line is too short")?;
            ensure!(
                line.len() == LENGTH,
                "a line of {} bytes: {head}",
                line.len()
            );
            ensure!(
                rest.chars().all(|letter| letter == filling),
                "a mixed line: {line}"
            );
            *seen.entry(head.to_owned()).or_insert(0_usize) += 1;
        }
        assert_eq!(seen.len(), LINES, "{seen:?}");
        ensure!(
            seen.values().all(|times| *times == REQUESTS),
            "lines are lost: {seen:?}"
        );
    }
    served.end().await?;
    Ok(())
}

/// Waits until this many lines of a stream begin with a word.
async fn wait_count(
    served: &Served,
    stream: Stream,
    word: &str,
    wanted: usize,
) -> anyhow::Result<Vec<Line>> {
    let count = |lines: &[Line]| {
        texts(lines, stream)
            .iter()
            .filter(|line| line.starts_with(word))
            .count()
    };
    let waited = tokio::time::timeout(SOON, async {
        loop {
            let lines = served.container.logs()?;
            if count(&lines) >= wanted && lines.iter().all(|line| line.whole) {
                return anyhow::Ok(lines);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    match waited.await {
        Ok(lines) => lines,
        Err(_) => {
            let lines = served.container.logs()?;
            anyhow::bail!("{} of {wanted} lines of {word} came", count(&lines))
        }
    }
}

async fn a_trap_is_one_line_with_the_component(node: Arc<Node>) -> anyhow::Result<()> {
    let image = node.guest_image(Kind::Spin, "trap").await?;
    let served = Served::start(&node, "traps", &Kind::Spin.container("app", &image)).await?;
    for how in ["panic", "unreachable", "memory"] {
        let reply = served.get(&format!("/?how={how}")).await?;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (500, 0), "{how}");
    }
    let lines = served.container.wait_log("component_id", SOON).await?;
    let told = lines
        .iter()
        .filter(|line| line.text.contains("component_id"));
    ensure!(
        told.clone().all(|line| line.text.contains("trap")),
        "{lines:#?}"
    );
    ensure!(
        served.get("/.well-known/spin/health").await?.status == 200,
        "it is still healthy"
    );
    served.end().await?;
    Ok(())
}
