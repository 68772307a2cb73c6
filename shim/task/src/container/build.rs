//! Creates a container, in a process used only for this step.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::LinuxDeviceCgroup;
use serde::{Deserialize, Serialize};

use super::causes::chain;
use super::oci::STATE;
use super::streams::{self, Streams};
use super::{executor, inside};
use crate::application::Folder;
use crate::application::handover::Handover;
use crate::node::cgroup::{self, Hierarchy};
use crate::node::devices;
use crate::spec::{Cgroups, Propagation};

/// The file of the plan, in the bundle.
pub(crate) const PLAN: &str = "skiff-plan.json";

/// What a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Workload {
    /// The program named by its arguments.
    Linux {
        /// Why no application was found, if one was looked for.
        no_application: Option<String>,
    },
    /// The serving process; the plan lies in the bundle.
    Application {
        /// Name and arguments of the process.
        serve: Vec<String>,
        /// The folders that it receives open. Container mounts cannot cover them.
        folders: Vec<Folder>,
    },
}

/// What is needed to create a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Make {
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) streams: Streams,
    pub(super) systemd_cgroup: bool,
    pub(super) propagation: Vec<Propagation>,
    pub(super) cgroups: Option<Cgroups>,
    pub(super) devices: Vec<LinuxDeviceCgroup>,
    pub(super) cwd: PathBuf,
    pub(super) workload: Workload,
}

/// Creates the container with libcontainer. Its first process then waits to be started.
/// Returns the process id on the node.
///
/// # Errors
/// libcontainer's error, with every cause.
pub(super) fn build(make: &Make, status: OwnedFd) -> anyhow::Result<i32> {
    let state = make.bundle.join(STATE);
    let mut builder = ContainerBuilder::new(make.id.clone(), SyscallType::Linux)
        .validate_id()
        .map_err(|error| anyhow!(chain(&error)))?
        .with_root_path(&state)
        .map_err(|error| anyhow!(chain(&error)))?;
    builder = match &make.workload {
        Workload::Linux { no_application } => builder.with_executor(executor::Linux {
            status: Arc::new(File::from(status)),
            no_application: no_application.clone(),
        }),
        Workload::Application { serve, folders } => {
            let plan = make.bundle.join(PLAN);
            let handover = Arc::new(Handover::open(&plan, folders, status)?);
            let serve = serve.clone();
            builder.with_executor(executor::Application { serve, handover })
        }
    };
    if let Some(file) = streams::open(&make.streams.stdin)? {
        // A process that can also write to it would never see its end.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let file = File::open(path)
            .with_context(|| format!("cannot open `{}`", make.streams.stdin.display()))?;
        builder = builder.with_stdin(file);
    }
    if let Some(file) = streams::open(&make.streams.stdout)? {
        builder = builder.with_stdout(file);
    }
    if let Some(file) = streams::open(&make.streams.stderr)? {
        builder = builder.with_stderr(file);
    }
    let init = builder
        .as_init(&make.bundle)
        .as_sibling(true)
        .with_systemd(make.systemd_cgroup);
    let container = init.build().map_err(|error| anyhow!(chain(&error)))?;
    let pid = container.pid().context("the container has no process")?;
    Ok(pid.as_raw())
}

/// Does what libcontainer does not, while the first process waits.
///
/// # Errors
/// The kernel's error, with the path.
pub(super) fn finish(make: &Make, pid: i32) -> anyhow::Result<()> {
    if let Some(group) = cgroup::unified_of(pid) {
        devices::guard(&group, &make.devices)?;
    } else {
        let groups = cgroup::hierarchies_of(pid).context("cannot find the control groups")?;
        let of_devices = |group: &&Hierarchy| group.controllers.iter().any(|it| it == "devices");
        if let Some(group) = groups.iter().find(of_devices) {
            devices::take_console(&group.path, &make.devices)?;
        }
    }
    inside::finish(pid, &make.propagation, make.cgroups.as_ref())?;
    Ok(())
}
