//! A namespace of the cluster that belongs to one case.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use skiff_suite::apps::App;

use crate::cluster::Cluster;
use crate::images::{offer_app, offer_command, offer_guest, offer_package};
use crate::wait::{Look, wait_until};

/// The limit for anything that should take seconds. It is not a promise of speed: a first
/// start compiles, and the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The namespace and its cluster.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    cluster: Arc<Cluster>,
    name: String,
}

impl Space {
    /// Makes a namespace.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub(crate) async fn make(cluster: Arc<Cluster>, name: &str) -> anyhow::Result<Self> {
        let clients = cluster.clients();
        clients.kubectl(&["create", "namespace", name]).await?;
        // Pods are refused before their service account exists.
        wait_until("the account of pods", SOON, || async {
            let account = ["get", "-n", name, "serviceaccount", "default", "-o", "name"];
            Ok(Look::at(true, cluster.clients().kubectl(&account).await?))
        })
        .await?;
        Ok(Self {
            cluster,
            name: name.to_owned(),
        })
    }

    /// Removes it with its content.
    ///
    /// # Errors
    ///
    /// When something in it is not deleted.
    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        let args = ["delete", "namespace", &self.name, "--timeout=180s"];
        self.cluster.clients().kubectl(&args).await.map(drop)
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The image of a guest, offered by the registry from now on.
    ///
    /// # Errors
    ///
    /// When it was not built.
    pub(crate) fn guest(&self, name: &str) -> anyhow::Result<String> {
        offer_guest(self.cluster.registry(), self.cluster.scratch(), name)
    }

    /// The image of a command guest, offered from now on.
    ///
    /// # Errors
    ///
    /// When it was not built.
    pub(crate) fn command(&self, name: &str) -> anyhow::Result<String> {
        offer_command(self.cluster.registry(), self.cluster.scratch(), name)
    }

    /// The image of a guest as a Wasm package, offered from now on.
    ///
    /// # Errors
    ///
    /// When it was not built.
    pub(crate) fn package(&self, name: &str) -> anyhow::Result<String> {
        offer_package(self.cluster.registry(), self.cluster.scratch(), name)
    }

    /// The image of an application, offered from now on under that name.
    ///
    /// # Errors
    ///
    /// When it cannot be packed.
    pub(crate) fn app(&self, name: &str, app: &App) -> anyhow::Result<String> {
        let image = format!("registry.test/apps/{name}:1");
        offer_app(self.cluster.registry(), self.cluster.scratch(), &image, app)?;
        Ok(self.image(&image))
    }

    /// The image of a layout, offered from now on under that name.
    pub(crate) fn offer(&self, name: &str, layout: &Path) -> String {
        let image = format!("registry.test/layouts/{name}:1");
        self.cluster.registry().offer(&image, layout);
        self.image(&image)
    }

    /// The reference for this cluster's pods of an image offered under this full name.
    pub(crate) fn image(&self, name: &str) -> String {
        self.cluster.registry().name(name)
    }

    /// Runs `kubectl` in the namespace.
    ///
    /// # Errors
    ///
    /// When it fails, with its output.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        let args = [&["-n", self.name.as_str()], args].concat();
        self.cluster.clients().kubectl(&args).await
    }

    /// Reads an object or a list of them.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) async fn get(&self, args: &[&str]) -> anyhow::Result<Value> {
        let args = [&["-n", self.name.as_str(), "get"], args].concat();
        self.cluster.clients().json(&args).await
    }

    /// The items of a list.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) async fn list(&self, args: &[&str]) -> anyhow::Result<Vec<Value>> {
        let mut list = self.get(args).await?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("`get {}` gives {other}", args.join(" ")),
        }
    }

    /// Applies objects, as JSON.
    ///
    /// # Errors
    ///
    /// When the server refuses one.
    pub(crate) async fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        let text: Vec<_> = objects.iter().map(Value::to_string).collect();
        let args = ["-n", &self.name, "apply", "-f", "-"];
        let clients = self.cluster.clients();
        // JSON documents are separated like YAML's.
        clients.kubectl_with(&args, &text.join("\n---\n")).await?;
        Ok(())
    }

    /// Waits until a workload's rollout is complete, as `kubectl rollout
    /// status` sees it.
    ///
    /// # Errors
    ///
    /// When it is not complete in time.
    pub(crate) async fn rolled_out(&self, workload: &str, limit: Duration) -> anyhow::Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        self.kubectl(&["rollout", "status", workload, &timeout])
            .await
            .map(drop)
    }

    /// Waits for a condition, as `kubectl wait` does.
    ///
    /// # Errors
    ///
    /// When it does not come in time.
    pub(crate) async fn wait_for(&self, object: &str, condition: &str) -> anyhow::Result<()> {
        let condition = format!("--for={condition}");
        let timeout = format!("--timeout={}s", SOON.as_secs());
        self.kubectl(&["wait", object, &condition, &timeout])
            .await
            .map(drop)
    }

    /// Polls a pod until it is as wanted, and returns it.
    ///
    /// # Errors
    ///
    /// When it never is, with its status.
    pub(crate) async fn pod_until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        wait_until(what, SOON, || async {
            let pod = self.get(&["pod", name]).await?;
            if wanted(&pod) {
                return Ok(Look::Yes(pod));
            }
            Ok(Look::NotYet(pod["status"].to_string()))
        })
        .await
    }

    /// The address and port of a Service.
    ///
    /// # Errors
    ///
    /// When it has none.
    pub(crate) async fn service(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let service = self.get(&["service", name]).await?;
        let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
        let port = service["spec"]["ports"][0]["port"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok());
        let port = port.with_context(|| format!("Service {name} has no port"))?;
        let address = address
            .parse()
            .with_context(|| format!("Service {name} is at `{address}`"))?;
        Ok(SocketAddr::new(address, port))
    }

    /// Diagnostics of a failed case.
    pub(crate) async fn story(&self) -> String {
        let looks: [&[&str]; 3] = [
            &["get", "all", "-o", "wide"],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &[
                "logs",
                "--selector=app",
                "--tail=10",
                "--prefix",
                "--ignore-errors",
            ],
        ];
        let mut story = String::new();
        for args in looks {
            let told = match self.kubectl(args).await {
                Ok(text) => text,
                Err(error) => format!("{error:#}"),
            };
            let lines: Vec<_> = told.lines().collect();
            let kept = &lines[lines.len().saturating_sub(40)..];
            story.push_str(&format!(
                "kubectl {}\n{}\n",
                args.join(" "),
                kept.join("\n")
            ));
        }
        story
    }
}
