//! What a container is to be: a Linux one, or an application, which is made ready here.

use std::path::PathBuf;

use anyhow::{Context, bail};
use containerd_shimkit::sandbox::InstanceConfig;
use oci_spec::runtime::Spec;
use skiff_artifact::Held;

use super::container::{self, Workload};
use super::mounts;
use super::native::is_linux;
use super::plan::Plan;
use super::prepare::{self, Reply, Request};
use crate::app::CompileRequest;
use crate::settings::{NodeSettings, environment};

/// What CRI says of the container that holds a pod's namespaces.
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";

/// How often an application is prepared that others remove before it can be held.
const TRIES: usize = 3;

/// What a container is to be.
pub(super) struct Decided {
    pub(super) workload: Workload,
    /// Keeps the application where it is until the container's process does.
    pub(super) held: Option<Held>,
    /// What an optimiser is to be asked.
    pub(super) optimize: Option<CompileRequest>,
}

impl Decided {
    fn linux(not_wasm: Option<String>) -> Self {
        Decided {
            workload: Workload::Linux { not_wasm },
            held: None,
            optimize: None,
        }
    }
}

/// Whether this is a Linux container or one of ours, which is then prepared.
///
/// # Errors
/// What is wrong with the application, or with the node.
pub(super) async fn decide(
    id: &str,
    config: &InstanceConfig,
    spec: &Spec,
    termination_message: Option<PathBuf>,
) -> anyhow::Result<Decided> {
    let root = spec
        .root()
        .as_ref()
        .context("the container has no root file system")?;
    let annotations = spec.annotations().as_ref();
    let kind = annotations.and_then(|all| all.get(CONTAINER_TYPE));
    if kind.is_some_and(|kind| kind == "sandbox") || is_linux(spec, root.path()) {
        return Ok(Decided::linux(None));
    }
    let node = NodeSettings::read(environment)?;
    let process = spec
        .process()
        .as_ref()
        .context("the container has no process")?;
    let args = process.args().clone().unwrap_or_default();
    let request = Request {
        container: id.to_owned(),
        namespace: config.namespace.clone(),
        containerd: PathBuf::from(&config.containerd_address),
        rootfs: root.path().clone(),
        args: args.clone(),
        directory: process.cwd().clone(),
        environment: process.env().clone().unwrap_or_default(),
        node: node.clone(),
    };
    let (reply, held) = prepare_and_hold(&request).await?;
    let (source, codes, bare, app, optimize) = match reply {
        Reply::Wasm {
            source,
            codes,
            bare,
            app,
            optimize,
        } => (source, codes, bare, app, optimize),
        Reply::NotWasm { reason } => return Ok(Decided::linux(Some(reason))),
        Reply::Failed { message } => bail!("{message}"),
    };
    let plan = Plan {
        source,
        codes,
        mounts: mounts::volumes(spec),
        bare,
        args,
        termination_message,
    };
    let path = config.bundle.join(container::PLAN);
    let json = serde_json::to_vec(&plan).context("cannot write the plan")?;
    std::fs::write(&path, json).with_context(|| format!("cannot write `{}`", path.display()))?;
    let cache = node.cache();
    let root = root.path().clone();
    Ok(Decided {
        workload: Workload::Wasm { cache, app, root },
        held,
        optimize,
    })
}

/// Has a container prepared, and sees to it that its application stays.
async fn prepare_and_hold(request: &Request) -> anyhow::Result<(Reply, Option<Held>)> {
    for _ in 0..TRIES {
        let reply = prepare::prepare(request).await?;
        let Reply::Wasm { app: Some(app), .. } = &reply else {
            return Ok((reply, None));
        };
        let held = Held::take(app);
        let held = held.with_context(|| format!("cannot use `{}`", app.display()))?;
        if held.is_some() {
            return Ok((reply, held));
        }
    }
    bail!("the application is removed from the node as soon as it is prepared")
}
