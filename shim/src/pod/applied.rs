//! What applies to a pod that runs on this node, for the node's operator.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use serde::Deserialize;
use skiff_manifest::runtime::{self, Defaults, RuntimeConfig};
use skiff_task::application::{Running, of_pod};

use super::outcome::Outcome;
use crate::app::{MOST_BYTES, read_text};

/// The stores, databases and limits of the applications of a pod, one a line, each with where
/// it comes from. No line shows a secret. `bundles` is containerd's folder of bundles;
/// `None` means those of the usual distributions.
///
/// # Errors
/// If no application of that pod runs here, or it cannot be read; only root may.
pub fn describe(bundles: Option<&Path>, namespace: &str, name: &str) -> anyhow::Result<String> {
    let found = of_pod(bundles, namespace, name)
        .context("cannot read what runs on this node, which only root may")?;
    if found.is_empty() {
        bail!("no application of the pod `{namespace}/{name}` runs on this node");
    }
    let mut out = String::new();
    for running in &found {
        writeln!(out, "container {}", running.container)?;
        let lines = lines(running).with_context(|| format!("container {}", running.container))?;
        if lines.is_empty() {
            writeln!(out, "  nothing is set by the operator or the pod")?;
        }
        for line in lines {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(out)
}

fn lines(running: &Running) -> anyhow::Result<Vec<String>> {
    let outcome =
        Outcome::deserialize(&running.plan.application).context("cannot read the plan")?;
    let defaults = match &outcome.defaults {
        Some(json) => Defaults::from_json(json)?,
        None => Defaults::default(),
    };
    let own = match running.pid {
        Some(pid) => own_configuration(pid)?,
        None => RuntimeConfig::default(),
    };
    let applied = defaults.apply(own);
    let applied = applied.map_err(|mistakes| anyhow::anyhow!(mistakes.join("; ")))?;
    Ok(applied.origins.iter().map(ToString::to_string).collect())
}

/// The configuration in a container. Links in it lead to files of the container only.
fn own_configuration(pid: u32) -> anyhow::Result<RuntimeConfig> {
    let read = || -> io::Result<Option<String>> {
        let root = format!("/proc/{pid}/root");
        let root = open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let path = super::RUNTIME_CONFIG.trim_start_matches('/');
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = match openat2(&root, path, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            file => File::from(file?),
        };
        read_text(file, MOST_BYTES).map(Some)
    };
    let text = read().context("cannot read the pod's runtime configuration")?;
    match text {
        Some(text) => Ok(runtime::read(&text, super::RUNTIME_CONFIG)?),
        None => Ok(RuntimeConfig::default()),
    }
}
