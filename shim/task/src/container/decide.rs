//! Decides whether a container is a Linux program or an application, and has applications
//! prepared.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use oci_spec::runtime::Spec;
use serde_json::Value;

use super::build::{PLAN, Workload};
use super::native::is_linux;
use crate::application::running::POD_NAMESPACE;
use crate::application::{Answer, Plan, Ready, Request, handover, prepare};
use crate::service::Context;
use crate::spec::volumes;

/// The CRI annotation of the container that holds a pod's namespaces.
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";

/// How often an application is prepared if others remove it before it can be locked.
const TRIES: usize = 3;

/// What a container runs.
pub(super) struct Decided {
    pub(super) workload: Workload,
    /// Keeps the application in place until the container's process does.
    pub(super) held: Vec<OwnedFd>,
    /// A folder to be made for the application, see [`Ready::own_folder`].
    pub(super) own_folder: Option<PathBuf>,
    /// The request for background work for the application.
    pub(super) assist: Option<Value>,
}

impl Decided {
    fn linux(no_application: Option<String>) -> Self {
        Decided {
            workload: Workload::Linux { no_application },
            held: Vec::new(),
            own_folder: None,
            assist: None,
        }
    }
}

/// Whether this is a Linux container or an application, which is then prepared.
///
/// # Errors
/// What is wrong with the application or the node.
pub(super) async fn decide(
    id: &str,
    bundle: &Path,
    spec: &Spec,
    termination_message: Option<PathBuf>,
    context: &Context,
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
    let settings = (context.program.settings)()?;
    let process = spec
        .process()
        .as_ref()
        .context("the container has no process")?;
    let args = process.args().clone().unwrap_or_default();
    let mounts = spec.mounts().iter().flatten();
    let request = Request {
        container: id.to_owned(),
        namespace: context.namespace.clone(),
        containerd: PathBuf::from(&context.containerd),
        rootfs: root.path().clone(),
        args: args.clone(),
        directory: process.cwd().clone(),
        environment: process.env().clone().unwrap_or_default(),
        mounts: mounts.map(|mount| mount.destination().clone()).collect(),
        pod_namespace: annotations.and_then(|all| all.get(POD_NAMESPACE)).cloned(),
        settings,
    };
    let (answer, held) = prepare_and_hold(context.program.prepare, &request).await?;
    let Ready {
        application,
        folders,
        own_folder,
        assist,
    } = match answer {
        Answer::Ready(ready) => ready,
        Answer::Nothing { reason } => return Ok(Decided::linux(Some(reason))),
        Answer::Failed { message } => bail!("{message}"),
    };
    let plan = Plan {
        application,
        folders: folders.len(),
        volumes: volumes::volumes(spec),
        args,
        termination_message,
    };
    let path = bundle.join(PLAN);
    let json = serde_json::to_vec(&plan).context("cannot write the plan")?;
    write_private(&path, &json).with_context(|| format!("cannot write `{}`", path.display()))?;
    let serve = context.program.serve.iter().map(ToString::to_string);
    Ok(Decided {
        workload: Workload::Application {
            serve: serve.collect(),
            folders,
        },
        held,
        own_folder,
        assist,
    })
}

/// Writes a file that only root may read: a plan may contain passwords.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(bytes)
}

/// Has a container's application prepared, and locks it so that it stays.
async fn prepare_and_hold(
    prepare: &[&str],
    request: &Request,
) -> anyhow::Result<(Answer, Vec<OwnedFd>)> {
    for _ in 0..TRIES {
        let answer = prepare::prepare(prepare, request).await?;
        let Answer::Ready(Ready { folders, .. }) = &answer else {
            return Ok((answer, Vec::new()));
        };
        let held = folders.iter().filter(|folder| folder.locked).map(|folder| {
            let held = handover::hold(folder);
            held.with_context(|| format!("cannot use `{}`", folder.path.display()))
        });
        let held: Option<Vec<_>> = held.collect::<anyhow::Result<_>>()?;
        if let Some(held) = held {
            return Ok((answer, held));
        }
    }
    bail!("the application is removed from the node as soon as it is prepared")
}
