//! The privileges of a container's processes, by its pod's security context.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use anyhow::{Context, ensure};
use skiff_test_support::{http, processes};

use crate::harness::Case;
use crate::node::Node;
use crate::pods::{SOON, Subject};

/// The sets of capabilities of a process.
const SETS: [&str; 5] = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];

pub(super) fn cases() -> Vec<Case> {
    crate::cases![
        capabilities_that_a_pod_does_not_speak_of_are_runcs,
        of_all_capabilities_that_a_pod_drops_none_is_left,
    ]
}

/// The sets of every process of a serving container.
async fn capabilities(
    node: &Node,
    subject: Subject,
    drops_all: bool,
) -> anyhow::Result<BTreeSet<String>> {
    let mut spec = subject.server(node).await?;
    if drops_all {
        spec = spec.without_capabilities();
    }
    let pod = node
        .cri()
        .run_pod("capabilities", subject.handler())
        .await?;
    let container = pod.run(&spec).await?;
    // Only after executing its program has a process dropped its initial privileges.
    http::get_until_ok(&pod.url(8080, "/"), SOON).await?;
    let first = node.containerd().process_of(&container).await?;
    let mut found = BTreeSet::new();
    for pid in processes::tree(first.context("it has no process")?) {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let lines = status.lines();
        let sets = lines.filter(|line| SETS.iter().any(|set| line.starts_with(set)));
        found.insert(sets.collect::<Vec<_>>().join(" ").replace('\t', " "));
    }
    pod.remove().await?;
    Ok(found)
}

async fn capabilities_that_a_pod_does_not_speak_of_are_runcs(
    node: Arc<Node>,
) -> anyhow::Result<()> {
    let wanted = capabilities(&node, Subject::Runc, false).await?;
    for subject in [Subject::Linux, Subject::Wasm] {
        let found = capabilities(&node, subject, false).await?;
        assert_eq!(found, wanted, "{subject:?}");
    }
    Ok(())
}

async fn of_all_capabilities_that_a_pod_drops_none_is_left(node: Arc<Node>) -> anyhow::Result<()> {
    let none = SETS.map(|set| format!("{set} {:016x}", 0)).join(" ");
    for subject in Subject::ALL {
        let found = capabilities(&node, subject, true).await?;
        ensure!(
            found.iter().eq([&none]),
            "{subject:?} has {found:?}, not {none}"
        );
    }
    Ok(())
}
