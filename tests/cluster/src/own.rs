//! A cluster that the run starts itself: its parts in the order of their dependencies.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use skiff_test_support::leftovers::Leftover;
use tokio::task::JoinHandle;

use crate::addons::Addons;
use crate::addresses::Addresses;
use crate::control::NODE_NAME;
use crate::identity::Identity;
use crate::inside::Scope;
use crate::install::Files;
use crate::kubectl::Clients;
use crate::leftovers::Baseline;
use crate::program::{Line, Program};
use crate::tools::NodeTools;
use crate::wait::{Look, wait_until};
use crate::{addons, control, node};

/// How long any part may take until it answers; half a minute is usual for a
/// whole cluster on two busy cores.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How long a part may take to end after SIGTERM.
const ENDED_WITHIN: Duration = Duration::from_secs(20);

/// The running parts, and the earlier states of the node.
#[derive(Debug)]
pub(crate) struct Own {
    programs: Arc<Mutex<Vec<Program>>>,
    watch: JoinHandle<()>,
    /// The node before the installation of Skiff.
    fresh: Baseline,
    /// Its files then.
    files: Files,
    /// The node with Skiff and without pods that use it.
    baseline: Baseline,
    identity: Identity,
    addresses: &'static Addresses,
    addons: Option<Addons>,
    scope: Scope,
}

impl Own {
    /// Starts every part and waits until the node is ready. Every registry is the
    /// one at this address.
    ///
    /// # Errors
    ///
    /// When a part does not start, with its last words.
    pub(crate) async fn start(
        scope: Scope,
        kubernetes: &Path,
        tools: NodeTools,
        identity: Identity,
        addresses: &'static Addresses,
        registry: &str,
        clients: &Clients,
    ) -> anyhow::Result<Self> {
        node::network(&scope, addresses)?;
        node::programs(&tools.containerd)?;
        let containerd = node::containerd(registry)?;
        let etcd = control::etcd(kubernetes, &scope.folder().join("etcd"));
        let server = control::apiserver(kubernetes, &identity, addresses);
        let mut others = vec![
            control::controller_manager(kubernetes, &identity),
            control::scheduler(kubernetes, &identity),
            node::kubelet(&scope, kubernetes, &identity, addresses)?,
            node::proxy(kubernetes, &identity, addresses),
        ];
        if let Some(addons) = &tools.addons {
            others.extend(addons.of_every_cluster(
                &identity,
                addresses,
                &scope.folder().join("addons"),
            )?);
        }
        let programs = Arc::default();
        let watch = tokio::spawn(keep_running(Arc::clone(&programs)));
        let mut own = Self {
            programs,
            watch,
            fresh: Baseline::default(),
            files: Files::default(),
            baseline: Baseline::default(),
            identity,
            addresses,
            addons: tools.addons,
            scope,
        };
        for line in [containerd, etcd, server] {
            own.add(line)?;
        }
        own.ready("the API server", async || {
            let answer = clients.kubectl(&["get", "--raw", "/readyz"]).await?;
            Ok(Look::at(answer == "ok", answer))
        })
        .await?;
        for line in others {
            own.add(line)?;
        }
        if own.addons.is_some() {
            let text = addons::manifests(addresses).to_string();
            clients.kubectl_with(&["apply", "-f", "-"], &text).await?;
        }
        own.ready("the node", async || {
            let node = clients.json(&["get", "node", NODE_NAME]).await?;
            let conditions = node["status"]["conditions"].clone();
            let ready = conditions
                .as_array()
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            Ok(Look::at(ready, conditions))
        })
        .await?;
        own.ready("the account of pods", async || {
            let account = ["get", "serviceaccount", "default", "-o", "name"];
            Ok(Look::at(true, clients.kubectl(&account).await?))
        })
        .await?;
        own.fresh = Baseline::of(&own.scope);
        own.files = Files::of(&own.scope)?;
        Ok(own)
    }

    /// Records the node with Skiff and without other pods.
    pub(crate) fn installed(&mut self) {
        self.baseline = Baseline::of(&self.scope);
    }

    /// Waits for a part, and checks meanwhile that every part still runs.
    async fn ready<F>(&self, what: &str, look: F) -> anyhow::Result<()>
    where
        F: AsyncFn() -> anyhow::Result<Look<()>>,
    {
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
        waited.map_err(|error| error.context(self.last_words()))?
    }

    fn add(&self, line: Line) -> anyhow::Result<()> {
        let program = Program::start(&self.scope, line)?;
        self.lock().push(program);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Program>> {
        self.programs.lock().expect("no holder of this lock panics")
    }

    /// Checks that every part still runs.
    ///
    /// # Errors
    ///
    /// When one ended, with the end of its log.
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
    /// The error of `act`, or when there is no such part.
    pub(crate) fn with_program<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Program) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut programs = self.lock();
        let found = programs.iter_mut().find(|program| program.name() == name);
        act(found.with_context(|| format!("no part is called {name}"))?)
    }

    /// The usual add-ons of a cluster.
    ///
    /// # Errors
    ///
    /// When the run is the short one, which has none.
    pub(crate) fn addons(&self) -> anyhow::Result<&Addons> {
        let addons = self.addons.as_ref();
        addons.context("the short version has no addons")
    }

    /// Starts the enforcer of NetworkPolicies, for as long as the case holds it.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or the run is the short one, which has none.
    pub(crate) fn policy_keeper(&self) -> anyhow::Result<Program> {
        let keeper = self.addons()?.policy_keeper(&self.identity, self.addresses);
        Program::start(&self.scope, keeper)
    }

    /// The run all of it belongs to.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The node's files that differ from before the installation of Skiff.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub(crate) fn files_that_differ(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.files.differing(&Files::of(&self.scope)?))
    }

    /// The ids of all parts.
    pub(crate) fn parts(&self) -> Vec<u32> {
        self.lock().iter().map(Program::pid).collect()
    }

    /// What is still on the node after `limit` that was not there before the first pod.
    pub(crate) async fn leftovers(&self, limit: Duration) -> Vec<Leftover> {
        self.baseline.left(&self.scope, &self.parts(), limit).await
    }

    /// Ends every part and returns leftovers of pods.
    pub(crate) async fn shut_down(self) -> Vec<Leftover> {
        // kubelet removes logs of deleted pods once a minute.
        const SETTLED_WITHIN: Duration = Duration::from_secs(90);
        let parts = self.parts();
        let mut left = self.fresh.left(&self.scope, &parts, SETTLED_WITHIN).await;
        self.watch.abort();
        // Parts are ended in reverse order.
        for program in self.lock().iter_mut().rev() {
            if !program.stop(ENDED_WITHIN) {
                let text = format!("{} does not end after SIGTERM", program.name());
                left.push(Leftover::Unremoved(text));
            }
        }
        left
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Restarts parts that a service manager would restart.
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
