//! `kubectl` and `helm`, run as a user runs them.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::places::PROGRAMS;

/// The programs, and their kubeconfig.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    kubernetes: PathBuf,
    helm: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Clients {
    /// Those of a cluster. They keep their own files below `home`.
    pub(crate) fn new(kubernetes: &Path, helm: &Path, kubeconfig: &Path, home: &Path) -> Self {
        Self {
            kubernetes: kubernetes.to_owned(),
            helm: helm.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
        }
    }

    /// Runs `kubectl` and returns its output.
    ///
    /// # Errors
    ///
    /// When it fails, with its output.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(&self.kubernetes);
        command.arg("kubectl").args(args);
        told("kubectl", args, command, "").await
    }

    /// Runs `kubectl … -o json` and reads the answer.
    ///
    /// # Errors
    ///
    /// As [`Clients::kubectl`].
    pub(crate) async fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        let text = self.kubectl(&[args, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {} prints", args.join(" ")))
    }

    /// Passes `kubectl` a text, for example to apply it.
    ///
    /// # Errors
    ///
    /// As [`Clients::kubectl`].
    pub(crate) async fn kubectl_with(&self, args: &[&str], text: &str) -> anyhow::Result<String> {
        let mut command = self.command(&self.kubernetes);
        command.arg("kubectl").args(args);
        told("kubectl", args, command, text).await
    }

    /// Runs `helm` and returns its output.
    ///
    /// # Errors
    ///
    /// When it fails, with its output.
    pub(crate) async fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(&self.helm);
        command.args(args);
        told("helm", args, command, "").await
    }

    /// Runs a line as a shell on the node would, with `kubectl` and with the folder as
    /// its working folder, and returns its output.
    ///
    /// # Errors
    ///
    /// When it fails, with its output.
    pub(crate) async fn shell(&self, line: &str, folder: &Path) -> anyhow::Result<String> {
        let script = format!(
            "set -e\nPATH={PROGRAMS}:/usr/sbin:$PATH\nkubectl() {{ '{}' kubectl \"$@\"; }}\n{line}",
            self.kubernetes.display()
        );
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", &script]).current_dir(folder);
        told("sh", &[line], command, "").await
    }

    /// The command with which a user runs this `kubectl`.
    pub(crate) fn as_typed(&self) -> String {
        format!(
            "env KUBECONFIG={} {} kubectl …",
            self.kubeconfig.display(),
            self.kubernetes.display(),
        )
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            .kill_on_drop(true);
        command
    }
}

async fn told(
    name: &str,
    args: &[&str],
    mut command: Command,
    input: &str,
) -> anyhow::Result<String> {
    let line = || format!("{name} {}", args.join(" "));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(line)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await.with_context(line)?;
    }
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().await.with_context(line)?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        let stderr = String::from_utf8_lossy(&stderr);
        bail!("`{}` fails: {}{}", line(), stderr.trim(), stdout.trim());
    }
    Ok(stdout)
}
