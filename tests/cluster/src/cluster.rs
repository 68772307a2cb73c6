//! The cluster: its parts in the order in which they need each other.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use skiff_test_support::leftovers::Leftover;
use skiff_test_support::{Version, paths, tools};
use tokio::task::JoinHandle;

use crate::control::NODE_NAME;
use crate::identity::Identity;
use crate::images::{offer_all, offer_installers};
use crate::inside::Scope;
use crate::install::Files;
use crate::kubectl::Clients;
use crate::leftovers::Baseline;
use crate::options::Options;
use crate::program::{Line, Program};
use crate::registry::Registry;
use crate::wait::{Look, wait_until};
use crate::{addons, control, node};

/// How long any part may take until it answers; half a minute is usual for a
/// whole cluster on two busy cores.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How long a part may take to end when told to.
const ENDED_WITHIN: Duration = Duration::from_secs(20);

/// The programs that the cluster is made of.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    kubernetes: PathBuf,
    helm: PathBuf,
    coredns: PathBuf,
    metrics_server: PathBuf,
    containerd: PathBuf,
    skiff: PathBuf,
}

impl Tools {
    /// Finds them, and builds those that are missing.
    ///
    /// # Errors
    ///
    /// When one cannot be built.
    pub(crate) fn find(options: &Options) -> anyhow::Result<Self> {
        let skiff = options.skiff.clone().unwrap_or_else(paths::skiff);
        ensure!(
            skiff.exists(),
            "`{}` is not there; run `make build` first",
            skiff.display()
        );
        Ok(Self {
            kubernetes: tools::kubernetes()?,
            helm: tools::helm()?,
            coredns: tools::coredns()?,
            metrics_server: tools::metrics_server()?,
            containerd: tools::containerd(Version::V2)?,
            skiff: std::path::absolute(skiff)?,
        })
    }
}

/// A running cluster of one node.
#[derive(Debug)]
pub(crate) struct Cluster {
    // In this order: kubectl is of no use once the programs are gone, and the
    // run removes the folders of all.
    clients: Clients,
    programs: Arc<Mutex<Vec<Program>>>,
    watch: Option<JoinHandle<()>>,
    registry: Registry,
    /// The node before Skiff came.
    fresh: Baseline,
    /// Its files then.
    files: Files,
    /// The node with Skiff and without pods that use it.
    baseline: Baseline,
    tools: Tools,
    by_hand: bool,
    scope: Scope,
}

impl Cluster {
    /// Starts every part and waits until the node is ready.
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
        let identity = Identity::make(&scope.folder().join("identity"))?;
        let registry = Registry::start().await?;
        offer_all(&registry, &run_images(&scope))?;
        node::network(&scope)?;
        node::programs(&tools.containerd)?;
        match options.by_hand {
            true => node::handler_by_hand(&tools.skiff)?,
            false => offer_installers(&registry, &run_images(&scope), &tools.skiff)?,
        }
        let clients = Clients::new(
            &tools.kubernetes,
            &tools.helm,
            &identity.kubeconfig("admin"),
            &scope.folder().join("home"),
        );
        let folder = scope.folder().join("addons");
        let lines = Lines {
            containerd: node::containerd(registry.address())?,
            etcd: control::etcd(&tools.kubernetes, &scope.folder().join("etcd")),
            apiserver: control::apiserver(&tools.kubernetes, &identity),
            others: vec![
                control::controller_manager(&tools.kubernetes, &identity),
                control::scheduler(&tools.kubernetes, &identity),
                node::kubelet(&scope, &tools.kubernetes, &identity)?,
                node::proxy(&tools.kubernetes, &identity),
                addons::coredns(&tools.coredns, &identity, &folder)?,
                addons::metrics_server(&tools.metrics_server, &identity, &folder),
            ],
        };
        let mut cluster = Self {
            clients,
            programs: Arc::default(),
            registry,
            fresh: Baseline::default(),
            files: Files::default(),
            baseline: Baseline::default(),
            tools,
            by_hand: options.by_hand,
            scope,
            watch: None,
        };
        cluster.start_parts(lines).await?;
        cluster.watch = Some(tokio::spawn(keep_running(Arc::clone(&cluster.programs))));
        cluster.fresh = Baseline::of(&cluster.scope);
        cluster.files = Files::of(&cluster.scope)?;
        let prepared = began.elapsed();
        cluster.install().await?;
        cluster.baseline = Baseline::of(&cluster.scope);
        println!(
            "a cluster of one node is ready after {:.1} s, Skiff on it after {:.1} s",
            prepared.as_secs_f64(),
            began.elapsed().as_secs_f64()
        );
        Ok(cluster)
    }

    async fn start_parts(&self, lines: Lines) -> anyhow::Result<()> {
        self.add(lines.containerd)?;
        self.add(lines.etcd)?;
        self.add(lines.apiserver)?;
        self.ready("the API server", async || {
            let answer = self.clients.kubectl(&["get", "--raw", "/readyz"]).await?;
            Ok(Look::at(answer == "ok", answer))
        })
        .await?;
        for line in lines.others {
            self.add(line)?;
        }
        let text = addons::manifests().to_string();
        self.clients
            .kubectl_with(&["apply", "-f", "-"], &text)
            .await?;
        self.ready("the node", async || {
            let node = self.clients.json(&["get", "node", NODE_NAME]).await?;
            let conditions = node["status"]["conditions"].clone();
            let ready = conditions
                .as_array()
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            Ok(Look::at(ready, conditions))
        })
        .await?;
        self.ready("the account of pods", async || {
            let account = ["get", "serviceaccount", "default", "-o", "name"];
            Ok(Look::at(true, self.clients.kubectl(&account).await?))
        })
        .await
    }

    /// Waits for a part, and looks meanwhile whether every part still runs.
    async fn ready<F>(&self, what: &str, look: F) -> anyhow::Result<()>
    where
        F: AsyncFn() -> anyhow::Result<Look<()>>,
    {
        let mut ended = None;
        let waited = wait_until(what, READY_WITHIN, || async {
            match self.check() {
                Err(error) => Ok(Look::Yes(Err(error))),
                Ok(()) => Ok(match look().await? {
                    Look::Yes(()) => Look::Yes(Ok(())),
                    Look::NotYet(seen) => Look::NotYet(seen),
                }),
            }
        })
        .await;
        match waited {
            Ok(Ok(())) => {}
            Ok(Err(error)) => ended = Some(error),
            Err(error) => ended = Some(error.context(self.last_words())),
        }
        ended.map_or(Ok(()), Err)
    }

    fn add(&self, line: Line) -> anyhow::Result<()> {
        let program = Program::start(&self.scope, line)?;
        self.lock().push(program);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Program>> {
        self.programs.lock().expect("no holder of this lock panics")
    }

    /// Whether every part still runs.
    ///
    /// # Errors
    ///
    /// When one ended, with its last words.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.lock().iter_mut().try_for_each(Program::check)
    }

    fn last_words(&self) -> String {
        let programs = self.lock();
        let told = programs
            .iter()
            .map(|program| format!("{}:\n{}", program.name(), program.last_words()));
        told.collect::<Vec<_>>().join("\n\n")
    }

    /// Lets a case do something to one part, for example kill it.
    ///
    /// # Errors
    ///
    /// What `act` fails with, or when there is no such part.
    pub(crate) fn with_program<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Program) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut programs = self.lock();
        let found = programs.iter_mut().find(|program| program.name() == name);
        act(found.with_context(|| format!("no part is called {name}"))?)
    }

    /// `kubectl` and `helm`.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The registry that all pulls go to.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The run all of it belongs to.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether the handler was put in by hand and not by the installer.
    pub(crate) fn is_by_hand(&self) -> bool {
        self.by_hand
    }

    /// What of the node's files is not as it was before Skiff came.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub(crate) fn files_that_differ(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.files.differing(&Files::of(&self.scope)?))
    }

    /// A folder for what a case writes.
    pub(crate) fn scratch(&self) -> PathBuf {
        run_images(&self.scope)
    }

    /// The ids of all parts.
    pub(crate) fn parts(&self) -> Vec<u32> {
        self.lock().iter().map(Program::pid).collect()
    }

    /// What is on the node that was not there before the first pod, after it
    /// had `limit` to go.
    pub(crate) async fn leftovers(&self, limit: Duration) -> Vec<Leftover> {
        self.baseline.left(&self.scope, &self.parts(), limit).await
    }

    /// Stays until somebody kills the run.
    pub(crate) async fn pause(&self) {
        println!(
            "enter it with: nsenter -t {} -a env KUBECONFIG={} {} kubectl …",
            std::process::id(),
            self.scope
                .folder()
                .join("identity/admin.kubeconfig")
                .display(),
            self.tools.kubernetes.display(),
        );
        std::future::pending().await
    }

    /// Ends every part and gives what was left of pods.
    pub(crate) async fn shut_down(self) -> Vec<Leftover> {
        // kubelet looks for logs of pods that are gone once a minute.
        const SETTLED_WITHIN: Duration = Duration::from_secs(90);
        let mut left = Vec::new();
        if !self.by_hand
            && let Err(error) = self.helm_uninstall_if_there().await
        {
            left.push(Leftover::Unremoved(format!("{error:#}")));
        }
        let parts = self.parts();
        left.extend(self.fresh.left(&self.scope, &parts, SETTLED_WITHIN).await);
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        // Who was started last is ended first.
        for program in self.lock().iter_mut().rev() {
            if !program.stop(ENDED_WITHIN) {
                let text = format!("{} does not end when told to", program.name());
                left.push(Leftover::Unremoved(text));
            }
        }
        left
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

/// Where the layouts of images are written.
fn run_images(scope: &Scope) -> PathBuf {
    scope.folder().join("images")
}

/// Starts again what a service manager would start again.
async fn keep_running(programs: Arc<Mutex<Vec<Program>>>) {
    const AGAIN: Duration = Duration::from_millis(100);
    loop {
        tokio::time::sleep(AGAIN).await;
        let mut programs = programs.lock().expect("no holder of this lock panics");
        for program in programs.iter_mut() {
            if let Err(error) = program.revive() {
                println!("{} cannot be started again: {error:#}", program.name());
            }
        }
    }
}

/// How each part is started.
struct Lines {
    containerd: Line,
    etcd: Line,
    apiserver: Line,
    others: Vec<Line>,
}
