//! The cluster that cases run on: one of the run's own, or an existing one.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use skiff_test_support::leftovers::Leftover;

use crate::identity::Identity;
use crate::images::{offer_all, offer_installers};
use crate::inside::Scope;
use crate::kubectl::Clients;
use crate::options::Options;
use crate::own::Own;
use crate::registry::Registry;
use crate::tools::Tools;
use crate::{addresses, node};

/// A cluster with Skiff on it.
#[derive(Debug)]
pub(crate) struct Cluster {
    clients: Clients,
    own: Option<Own>,
    registry: Registry,
    /// Where the layouts of images are written.
    scratch: PathBuf,
    by_hand: bool,
    /// The values given to Helm, beyond the chart's defaults.
    values: Vec<String>,
}

impl Cluster {
    /// Starts a cluster of one node and installs Skiff on it.
    ///
    /// # Errors
    ///
    /// When a part does not start, with its last words.
    pub(crate) async fn start(
        scope: Scope,
        tools: Tools,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let scratch = scope.folder().join("images");
        let addresses = match options.ipv6 {
            true => &addresses::V6,
            false => &addresses::V4,
        };
        let identity = Identity::make(&scope.folder().join("identity"), addresses)?;
        let clients = Clients::new(
            &tools.kubernetes,
            &tools.helm,
            &identity.kubeconfig("admin"),
            &scope.folder().join("home"),
        );
        let registry = Registry::start().await?;
        offer_all(&registry, &scratch)?;
        let node = tools.node.context("nothing to make a node of")?;
        match options.by_hand {
            true => node::handler_by_hand(&tools.skiff)?,
            false => offer_installers(&registry, &scratch, &tools.skiff)?,
        }
        let own = Own::start(
            scope,
            &tools.kubernetes,
            node,
            identity,
            addresses,
            registry.address(),
            &clients,
        );
        let own = own.await?;
        let prepared = began.elapsed();
        let mut cluster = Self {
            clients,
            own: Some(own),
            registry,
            scratch,
            by_hand: options.by_hand,
            // The node has no systemd: containerd is terminated, and started again.
            values: vec!["hostPID=true".to_owned()],
        };
        cluster.values.extend_from_slice(&options.values);
        cluster.install().await?;
        if let Some(own) = &mut cluster.own {
            own.installed();
        }
        println!(
            "a cluster of one node is ready after {:.1} s, Skiff on it after {:.1} s",
            prepared.as_secs_f64(),
            began.elapsed().as_secs_f64()
        );
        Ok(cluster)
    }

    /// Installs Skiff on an existing cluster. Its nodes pull from this process, through a
    /// loopback address.
    ///
    /// # Errors
    ///
    /// When Helm refuses, as it does if Skiff is already installed.
    pub(crate) async fn join(
        kubeconfig: &Path,
        scratch: &Path,
        tools: Tools,
        options: &Options,
    ) -> anyhow::Result<Self> {
        ensure!(
            !options.by_hand,
            "a handler by hand is for a cluster of the run's own"
        );
        let clients = Clients::new(
            &tools.kubernetes,
            &tools.helm,
            &std::path::absolute(kubeconfig)?,
            &scratch.join("home"),
        );
        let registry = Registry::start().await?.named_by_address();
        let scratch = scratch.join("images");
        offer_all(&registry, &scratch)?;
        offer_installers(&registry, &scratch, &tools.skiff)?;
        let mut values = vec![
            format!(
                "image.repository={}",
                registry.name("ghcr.io/skiff-dev/installer")
            ),
            format!(
                "test.image.repository={}",
                registry.name("ghcr.io/skiff-dev/samples/hello-rust")
            ),
        ];
        values.extend_from_slice(&options.values);
        let cluster = Self {
            clients,
            own: None,
            registry,
            scratch,
            by_hand: false,
            values,
        };
        cluster.install().await?;
        Ok(cluster)
    }

    /// `kubectl` and `helm`.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The registry that the nodes pull from.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The parts and the node of a cluster of the run's own.
    ///
    /// # Errors
    ///
    /// When the cluster is not the run's own.
    pub(crate) fn own(&self) -> anyhow::Result<&Own> {
        self.own.as_ref().context("not a cluster of the run's own")
    }

    /// Whether the handler was added by hand instead of by the installer.
    pub(crate) fn is_by_hand(&self) -> bool {
        self.by_hand
    }

    /// The values given to Helm, as `name=value`.
    pub(crate) fn values(&self) -> &[String] {
        &self.values
    }

    /// A folder for the files of a case.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Checks that every part that the run started is still running.
    ///
    /// # Errors
    ///
    /// When one ended, with its last words.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.own.as_ref().map_or(Ok(()), Own::check)
    }

    /// Waits until the run is killed.
    pub(crate) async fn pause(&self) {
        let typed = self.clients.as_typed();
        match &self.own {
            // Outside, its process id is another one.
            Some(own) => println!(
                "enter it with: nsenter -t $(pgrep -of 'inside {}') -a {typed}",
                own.scope().name()
            ),
            None => println!("use it with: {typed}"),
        }
        std::future::pending().await
    }

    /// Removes Skiff, ends every part, and returns leftovers of pods.
    pub(crate) async fn shut_down(self) -> Vec<Leftover> {
        let mut left = Vec::new();
        if !self.by_hand
            && let Err(error) = self.helm_uninstall_if_there().await
        {
            left.push(Leftover::Unremoved(format!("{error:#}")));
        }
        if let Some(own) = self.own {
            left.extend(own.shut_down().await);
        }
        left
    }
}
