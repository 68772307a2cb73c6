//! Skiff on the node: by Helm as a user does it, or by hand if the installer is not under
//! test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::cluster::Cluster;
use crate::inside::Scope;
use crate::places;

/// The namespace that the documentation recommends.
pub(crate) const NAMESPACE: &str = "skiff-system";

/// The RuntimeClass for nodes set up by hand, relative to this crate.
pub(crate) const RUNTIME_CLASS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/runtimeclass.yaml"
);

/// The chart, relative to this crate.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/skiff");

impl Cluster {
    /// Installs Skiff and its RuntimeClass.
    ///
    /// # Errors
    ///
    /// When Helm or the server refuses.
    pub(crate) async fn install(&self) -> anyhow::Result<()> {
        if self.is_by_hand() {
            let args = ["apply", "-f", RUNTIME_CLASS];
            return self.clients().kubectl(&args).await.map(drop);
        }
        let mut args = vec!["install", "skiff", CHART, "--namespace", NAMESPACE];
        args.extend(["--create-namespace", "--wait", "--timeout=5m"]);
        let values = self.values().iter().map(|value| format!("--set={value}"));
        let values: Vec<_> = values.collect();
        args.extend(values.iter().map(String::as_str));
        self.clients().helm(&args).await?;
        self.installer_is_ready().await
    }

    /// Waits until the node's installer is ready. Helm's `--wait` does not wait if all
    /// nodes may be unready.
    async fn installer_is_ready(&self) -> anyhow::Result<()> {
        let args = ["rollout", "status", "daemonset/skiff", "--timeout=180s"];
        let there = ["--namespace", NAMESPACE];
        let args = [&args[..], &there].concat();
        let Err(error) = self.clients().kubectl(&args).await else {
            return Ok(());
        };
        let mut told = String::new();
        for look in [
            &["logs", "daemonset/skiff", "--tail=20", "--previous"][..],
            &["logs", "daemonset/skiff", "--tail=20"],
            &["get", "events", "--sort-by=.lastTimestamp"],
        ] {
            let text = self.clients().kubectl(&[look, &there].concat()).await;
            told.push_str(&text.unwrap_or_else(|error| format!("{error:#}\n")));
        }
        Err(error.context(format!("of the installer is reported:\n{told}")))
    }

    /// Upgrades with one value changed, such as the `image.tag=…` of another version.
    ///
    /// # Errors
    ///
    /// When Helm fails or, with `wait`, the node does not become ready.
    pub(crate) async fn helm_upgrade(&self, value: &str, wait: bool) -> anyhow::Result<()> {
        let value = format!("--set={value}");
        let mut args = vec!["upgrade", "skiff", CHART, "--namespace", NAMESPACE];
        args.extend(["--reuse-values", value.as_str(), "--timeout=5m"]);
        if !wait {
            return self.clients().helm(&args).await.map(drop);
        }
        args.push("--wait");
        self.clients().helm(&args).await?;
        self.installer_is_ready().await
    }

    /// Uninstalls it.
    ///
    /// # Errors
    ///
    /// When the chart's hook refuses.
    pub(crate) async fn helm_uninstall(&self) -> anyhow::Result<()> {
        let args = ["uninstall", "skiff", "--namespace", NAMESPACE];
        let wait = ["--wait", "--timeout=5m"];
        self.clients()
            .helm(&[&args[..], &wait].concat())
            .await
            .map(drop)
    }

    /// Repairs a release whose uninstall was refused: Helm does not upgrade one that it
    /// considers half uninstalled.
    ///
    /// # Errors
    ///
    /// When Helm fails.
    pub(crate) async fn helm_take_up(&self) -> anyhow::Result<()> {
        let revision = self.helm_revision().await?;
        self.helm_rollback(&revision).await
    }

    /// The number of the release's last revision.
    ///
    /// # Errors
    ///
    /// When Helm fails.
    pub(crate) async fn helm_revision(&self) -> anyhow::Result<String> {
        let args = ["history", "skiff", "--max=1", "--output=json"];
        let there = ["--namespace", NAMESPACE];
        let history = self.clients().helm(&[&args[..], &there].concat()).await?;
        let history: serde_json::Value = serde_json::from_str(&history)?;
        Ok(history[0]["revision"].to_string())
    }

    /// Goes back to a revision.
    ///
    /// # Errors
    ///
    /// When Helm fails.
    pub(crate) async fn helm_rollback(&self, revision: &str) -> anyhow::Result<()> {
        let args = ["rollback", "skiff", revision, "--wait", "--timeout=3m"];
        let there = ["--namespace", NAMESPACE];
        let args = [&args[..], &there].concat();
        self.clients().helm(&args).await.map(drop)
    }

    /// Uninstalls it if it is installed, for the end of a run.
    ///
    /// # Errors
    ///
    /// When the chart's hook refuses.
    pub(crate) async fn helm_uninstall_if_there(&self) -> anyhow::Result<()> {
        let args = ["list", "--namespace", NAMESPACE, "--all", "--short"];
        let listed = self.clients().helm(&args).await?;
        match listed.trim().is_empty() {
            true => Ok(()),
            false => self.helm_uninstall().await,
        }
    }
}

/// Which of the node's files were written, and how.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Files(BTreeMap<PathBuf, String>);

impl Files {
    /// Reads everything written to the node's folders so far, except logs.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub(crate) fn of(scope: &Scope) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        for place in places::layers().filter(|place| *place != "/var/log") {
            read(&places::written(scope, place), &mut files)?;
        }
        // Records of network plugins come and go with pods.
        let plugins = places::written(scope, "/var/lib").join("cni");
        files.retain(|path, _| !path.starts_with(&plugins));
        Ok(Self(files))
    }

    /// The differences, one per line.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let gone = self.0.keys().filter(|path| !other.0.contains_key(*path));
        let gone = gone.map(|path| format!("gone: {}", path.display()));
        let other = other.0.iter().filter_map(|(path, what)| {
            let before = self.0.get(path);
            (before != Some(what)).then(|| match before {
                Some(before) => format!("{}: {before} became {what}", path.display()),
                None => format!("new: {} ({what})", path.display()),
            })
        });
        gone.chain(other).collect()
    }
}

fn read(folder: &Path, files: &mut BTreeMap<PathBuf, String>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        let owner = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
        let content = if meta.is_dir() {
            read(&path, files)?;
            "folder".to_owned()
        } else if meta.is_symlink() {
            format!("link to {}", fs::read_link(&path)?.display())
        } else if meta.is_file() {
            hex::encode(Sha256::digest(fs::read(&path)?))
        } else {
            // An overlay records deletions like this.
            "not a regular file".to_owned()
        };
        files.insert(path, format!("{owner} {content}"));
    }
    Ok(())
}
