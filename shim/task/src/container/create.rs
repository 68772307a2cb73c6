//! Creation of a container.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::build::{Make, Workload};
use super::decide::{Decided, decide};
use super::oci::OciContainer;
use super::{Container, Process, Streams, folders, streams};
use crate::node::{cgroup, oom};
use crate::report::Owner;
use crate::service::Context;
use crate::shim::reaper::Reaper;
use crate::spec::volumes::termination_log;
use crate::spec::{self, Completed, Written};
use crate::{Assistant, Program};

/// A container to be created.
pub(crate) struct Creation {
    pub(crate) id: String,
    /// Its folder, created by containerd.
    pub(crate) bundle: PathBuf,
    /// The standard streams of its first process.
    pub(crate) streams: Streams,
    /// Whether systemd creates its control group.
    pub(crate) systemd_cgroup: bool,
    /// The specification in the bundle.
    pub(crate) spec: Written,
}

/// Creates a container, and sets the termination message's path in `owner`.
///
/// # Errors
/// Everything that can be wrong with the container and with its application.
pub(super) async fn create(
    creation: Creation,
    context: Arc<Context>,
    owner: &mut Owner,
) -> anyhow::Result<Container> {
    let Creation {
        id,
        bundle,
        streams,
        systemd_cgroup,
        spec,
    } = creation;
    let Completed {
        mut spec,
        propagation,
        cgroups,
    } = spec.complete(cgroup::is_unified())?;
    let termination_log = termination_log(&spec);
    owner.expects_at(termination_log.as_ref().map(|log| log.host.clone()));
    let hold = Reaper::global().hold();
    let message = termination_log.map(|log| log.inside);
    let decided = decide(&id, &bundle, &spec, message, &context).await?;
    let Decided {
        workload,
        held,
        own_folder,
        assist,
    } = decided;
    let is_application = matches!(workload, Workload::Application { .. });
    if is_application {
        name_a_program(&mut spec);
    }
    spec::save(&spec, &bundle)?;
    let working = folders::make_working(&spec);
    let own = own_folder.map_or(Ok(()), |path| folders::make_private(&spec, &path));
    for error in [working.err(), own.err()].into_iter().flatten() {
        // Using it fails later, with an error that names it.
        log::info!("container {id}: {error}");
    }
    let stdin = streams::open(&streams.stdin)?;
    let (status, status_writer) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let make = Make {
        id: id.clone(),
        bundle: bundle.clone(),
        streams: streams.clone(),
        systemd_cgroup,
        propagation,
        cgroups,
        devices: spec::devices(&spec),
        cwd: spec
            .process()
            .as_ref()
            .map(|it| it.cwd().clone())
            .unwrap_or_default(),
        workload,
    };
    let (oci, pid) = OciContainer::make(make, status_writer)?;
    // From here on, the container's process holds the application.
    drop(held);
    // The hold does not prevent the process from being reaped, but a process id is only
    // reused after thousands of others.
    let init = match Process::new(pid, hold.watch(pid), streams, stdin) {
        Ok(init) => init,
        Err(error) => {
            oci.delete()?;
            return Err(error).context("the container's process ended immediately");
        }
    };
    Ok(Container {
        id,
        bundle,
        oci,
        init,
        status: Mutex::new(Some(status)),
        group: spec::group(&spec),
        is_application,
        shares_processes: !has_own_processes(&spec),
        kills: oom::Counter::of_process(pid),
        settled: OnceCell::new(),
        owner: owner.clone(),
        assistant: Mutex::new(assist.and_then(|asked| start_assistant(context.program, &asked))),
        deletes: Mutex::default(),
        context,
    })
}

fn start_assistant(program: &Program, asked: &Value) -> Option<Assistant> {
    match (program.assist)(asked) {
        Ok(assistant) => Some(assistant),
        Err(error) => {
            log::warn!("{error:#}");
            None
        }
    }
}

/// Artifacts name no program, and unlike the kubelet `ctr run` adds none. Without one,
/// libcontainer ends a container before Skiff's executor is called.
fn name_a_program(spec: &mut Spec) {
    if let Some(process) = spec.process_mut()
        && process.args().as_ref().is_none_or(Vec::is_empty)
    {
        process.set_args(Some(vec!["/".to_owned()]));
    }
}

/// Whether the container has a process namespace of its own, which ends with its
/// first process.
fn has_own_processes(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_deref());
    namespaces
        .unwrap_or_default()
        .iter()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxBuilder, LinuxNamespaceBuilder, SpecBuilder};

    #[test]
    fn only_a_process_namespace_of_its_own_ends_with_the_first_process() {
        let spec = |path: Option<&str>, typ| {
            let mut namespace = LinuxNamespaceBuilder::default().typ(typ);
            if let Some(path) = path {
                namespace = namespace.path(path);
            }
            let linux = LinuxBuilder::default()
                .namespaces(vec![namespace.build().unwrap()])
                .build()
                .unwrap();
            SpecBuilder::default().linux(linux).build().unwrap()
        };
        assert!(has_own_processes(&spec(None, LinuxNamespaceType::Pid)));
        assert!(!has_own_processes(&spec(
            Some("/proc/1/ns/pid"),
            LinuxNamespaceType::Pid
        )));
        assert!(!has_own_processes(&spec(None, LinuxNamespaceType::Network)));
    }
}
