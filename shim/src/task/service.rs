//! containerd's calls about the containers of one pod.
//!
//! No call waits for another: a container that starts, hangs or does not end can be
//! asked for its state and killed at any time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, anyhow};
use containerd_shim::api;
use containerd_shim::protos::events::task::{TaskCreate, TaskDelete, TaskExit, TaskIO, TaskStart};
use containerd_shim::protos::protobuf::well_known_types::any::Any;
use containerd_shim::protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim::protos::shim::shim_ttrpc::Task as Calls;
use containerd_shim::protos::ttrpc;
use containerd_shim::protos::types::task::ProcessInfo;
use containerd_shim::util::convert_to_any;
use containerd_shim::{ExitSignal, TtrpcContext, TtrpcResult};
use containerd_shimkit::AmbientRuntime;
use containerd_shimkit::sandbox::{Error, InstanceConfig};
use oci_spec::runtime::Spec;

use super::cgroup;
use super::events::Events;
use super::instance::Instance;
use super::limits::Limits;
use super::options;
use super::reaper::Ended;

/// The containers of a pod, and whom to tell of them.
pub(super) struct Service {
    namespace: String,
    containerd: String,
    tasks: Mutex<HashMap<String, Arc<Task>>>,
    events: Arc<Events>,
    exit: Arc<ExitSignal>,
}

/// A container as containerd knows it.
struct Task {
    instance: Instance,
    config: InstanceConfig,
    life: Mutex<Life>,
    /// Held by who deletes it.
    deletes: Mutex<()>,
}

/// How far a container's life has been called on. Whether its process still runs is
/// another question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Created,
    Starting,
    Started,
    Failed,
    Deleting,
}

impl Life {
    fn may_be_deleted(self, has_ended: bool) -> Result<(), Error> {
        match self {
            Life::Started if !has_ended => {
                Err(Error::FailedPrecondition("the container runs".into()))
            }
            Life::Starting => Err(Error::FailedPrecondition("the container starts".into())),
            _ => Ok(()),
        }
    }
}

impl Service {
    /// `containerd` is the address of its main socket; `exit` ends the process.
    pub(super) fn new(
        namespace: String,
        containerd: String,
        events: Events,
        exit: Arc<ExitSignal>,
    ) -> Self {
        Self {
            namespace,
            containerd,
            tasks: Mutex::default(),
            events: Arc::new(events),
            exit,
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Arc<Task>>> {
        // Every change is a single step, so a panic elsewhere leaves nothing half-done.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self, id: &str) -> Result<Arc<Task>, Error> {
        let task = self.tasks().get(id).cloned();
        task.ok_or_else(|| Error::NotFound(format!("container {id}")))
    }

    fn make(&self, request: &api::CreateTaskRequest) -> Result<Task, Error> {
        if !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty() {
            return Err(Error::InvalidArgument("checkpoints are not offered".into()));
        }
        if request.terminal {
            return Err(Error::InvalidArgument("terminals are not offered".into()));
        }
        if self.tasks().contains_key(&request.id) {
            return Err(Error::AlreadyExists(format!("container {}", request.id)));
        }
        let config = options::read(request.options.as_ref())
            .map_err(|error| Error::InvalidArgument(format!("{error:#}")))?;
        mount_root(request)?;
        let config = InstanceConfig {
            namespace: self.namespace.clone(),
            containerd_address: self.containerd.clone(),
            bundle: request.bundle.as_str().into(),
            stdin: request.stdin.as_str().into(),
            stdout: request.stdout.as_str().into(),
            stderr: request.stderr.as_str().into(),
            config,
        };
        let instance = Instance::new(request.id.clone(), &config).block_on()?;
        Ok(Task {
            instance,
            config,
            life: Mutex::new(Life::Created),
            deletes: Mutex::default(),
        })
    }
}

impl Task {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_start(&self) -> Result<(), Error> {
        let mut life = self.life();
        if *life != Life::Created {
            let message = "the container was started before";
            return Err(Error::FailedPrecondition(message.into()));
        }
        *life = Life::Starting;
        Ok(())
    }

    fn begin_delete(&self) -> Result<(), Error> {
        let mut life = self.life();
        life.may_be_deleted(self.instance.ended().is_some())?;
        *life = Life::Deleting;
        Ok(())
    }

    fn status(&self) -> api::Status {
        match *self.life() {
            _ if self.instance.ended().is_some() => api::Status::STOPPED,
            Life::Created | Life::Starting => api::Status::CREATED,
            Life::Started => api::Status::RUNNING,
            Life::Failed | Life::Deleting => api::Status::STOPPED,
        }
    }
}

impl Calls for Service {
    fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> TtrpcResult<api::CreateTaskResponse> {
        let task = self.make(&request)?;
        let pid = task.instance.pid();
        self.tasks().insert(request.id.clone(), Arc::new(task));
        self.events.send(&TaskCreate {
            container_id: request.id,
            bundle: request.bundle,
            rootfs: request.rootfs,
            io: Some(TaskIO {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                ..TaskIO::default()
            })
            .into(),
            pid,
            ..TaskCreate::default()
        });
        Ok(api::CreateTaskResponse {
            pid,
            ..api::CreateTaskResponse::default()
        })
    }

    fn start(
        &self,
        _: &TtrpcContext,
        request: api::StartRequest,
    ) -> TtrpcResult<api::StartResponse> {
        no_exec(&request.exec_id)?;
        let task = self.task(&request.id)?;
        task.begin_start()?;
        let started = task.instance.start().block_on();
        *task.life() = match started {
            Ok(()) => Life::Started,
            Err(_) => Life::Failed,
        };
        started?;
        let pid = task.instance.pid();
        let id = request.id;
        self.events.send(&TaskStart {
            container_id: id.clone(),
            pid,
            ..TaskStart::default()
        });
        let events = Arc::clone(&self.events);
        async move {
            let ended = task.instance.wait().await;
            events.send(&TaskExit {
                container_id: id.clone(),
                id,
                pid,
                exit_status: ended.code,
                exited_at: Some(timestamp(ended)).into(),
                ..TaskExit::default()
            });
        }
        .spawn();
        Ok(api::StartResponse {
            pid,
            ..api::StartResponse::default()
        })
    }

    fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> TtrpcResult<api::StateResponse> {
        no_exec(&request.exec_id)?;
        let task = self.task(&request.id)?;
        let ended = task.instance.ended();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Ok(api::StateResponse {
            id: request.id,
            bundle: text(&task.config.bundle),
            pid: task.instance.pid(),
            status: task.status().into(),
            stdin: text(&task.config.stdin),
            stdout: text(&task.config.stdout),
            stderr: text(&task.config.stderr),
            exit_status: ended.map_or(0, |ended| ended.code),
            exited_at: ended.map(timestamp).into(),
            ..api::StateResponse::default()
        })
    }

    fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> TtrpcResult<api::Empty> {
        no_exec(&request.exec_id)?;
        let task = self.task(&request.id)?;
        if task.instance.ended().is_some() {
            // What runc's shim says, which containerd takes for success.
            return Err(Error::NotFound("process already finished".into()).into());
        }
        task.instance.kill(request.signal, request.all)?;
        Ok(api::Empty::default())
    }

    fn wait(&self, _: &TtrpcContext, request: api::WaitRequest) -> TtrpcResult<api::WaitResponse> {
        no_exec(&request.exec_id)?;
        let task = self.task(&request.id)?;
        let ended = task.instance.wait().block_on();
        Ok(api::WaitResponse {
            exit_status: ended.code,
            exited_at: Some(timestamp(ended)).into(),
            ..api::WaitResponse::default()
        })
    }

    fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> TtrpcResult<api::DeleteResponse> {
        no_exec(&request.exec_id)?;
        let task = self.task(&request.id)?;
        // Whoever comes second is told that it is gone when it is, as by runc's shim:
        // containerd then clears away what the first is still about to remove.
        let _turn = task.deletes.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&task, &self.task(&request.id)?) {
            return Err(Error::NotFound(format!("container {}", request.id)).into());
        }
        task.begin_delete()?;
        if let Err(error) = task.instance.delete().block_on() {
            *task.life() = Life::Failed;
            return Err(error.into());
        }
        self.tasks().remove(&request.id);
        let pid = task.instance.pid();
        let ended = task.instance.ended();
        let exit_status = ended.map_or(0, |ended| ended.code);
        self.events.send(&TaskDelete {
            container_id: request.id,
            pid,
            exit_status,
            exited_at: ended.map(timestamp).into(),
            ..TaskDelete::default()
        });
        Ok(api::DeleteResponse {
            pid,
            exit_status,
            exited_at: ended.map(timestamp).into(),
            ..api::DeleteResponse::default()
        })
    }

    /// containerd asks for it when it has been restarted, and clears away who does
    /// not answer as a shim that was left behind.
    fn pids(&self, _: &TtrpcContext, request: api::PidsRequest) -> TtrpcResult<api::PidsResponse> {
        let task = self.task(&request.id)?;
        let Some(processes) = task.instance.processes() else {
            return Err(Error::FailedPrecondition("the container has ended".into()).into());
        };
        let info = |pid| ProcessInfo {
            pid,
            ..ProcessInfo::default()
        };
        Ok(api::PidsResponse {
            processes: processes.into_iter().map(info).collect(),
            ..api::PidsResponse::default()
        })
    }

    fn stats(
        &self,
        _: &TtrpcContext,
        request: api::StatsRequest,
    ) -> TtrpcResult<api::StatsResponse> {
        let task = self.task(&request.id)?;
        let measured = stats(task.instance.pid()).map_err(Error::Any)?;
        Ok(api::StatsResponse {
            stats: Some(measured).into(),
            ..api::StatsResponse::default()
        })
    }

    fn connect(
        &self,
        _: &TtrpcContext,
        request: api::ConnectRequest,
    ) -> TtrpcResult<api::ConnectResponse> {
        let task = self.task(&request.id)?;
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: task.instance.pid(),
            ..api::ConnectResponse::default()
        })
    }

    fn update(&self, _: &TtrpcContext, request: api::UpdateTaskRequest) -> TtrpcResult<api::Empty> {
        let task = self.task(&request.id)?;
        let limits = Limits::read(request.resources.as_ref(), cgroup::is_unified())
            .map_err(|error| Error::InvalidArgument(error.to_string()))?;
        if task.instance.ended().is_some() {
            return Err(Error::NotFound("process already finished".into()).into());
        }
        task.instance.update(limits)?;
        Ok(api::Empty::default())
    }

    fn close_io(&self, _: &TtrpcContext, request: api::CloseIORequest) -> TtrpcResult<api::Empty> {
        no_exec(&request.exec_id)?;
        let task = self.task(&request.id)?;
        if request.stdin {
            task.instance.close_stdin();
        }
        Ok(api::Empty::default())
    }

    fn exec(&self, _: &TtrpcContext, _: api::ExecProcessRequest) -> TtrpcResult<api::Empty> {
        not_offered("exec")
    }

    fn pause(&self, _: &TtrpcContext, _: api::PauseRequest) -> TtrpcResult<api::Empty> {
        not_offered("pause")
    }

    fn resume(&self, _: &TtrpcContext, _: api::ResumeRequest) -> TtrpcResult<api::Empty> {
        not_offered("resume")
    }

    fn checkpoint(
        &self,
        _: &TtrpcContext,
        _: api::CheckpointTaskRequest,
    ) -> TtrpcResult<api::Empty> {
        not_offered("checkpoint")
    }

    fn resize_pty(&self, _: &TtrpcContext, _: api::ResizePtyRequest) -> TtrpcResult<api::Empty> {
        not_offered("a terminal")
    }

    fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> TtrpcResult<api::Empty> {
        if self.tasks().is_empty() {
            self.exit.signal();
        }
        Ok(api::Empty::default())
    }
}

/// A call that is not written. The library would say that there is no such container,
/// which containerd takes for one that has ended.
fn not_offered(what: &str) -> TtrpcResult<api::Empty> {
    let message = format!("{what} is not offered by this runtime");
    let status = ttrpc::get_status(ttrpc::Code::UNIMPLEMENTED, message);
    Err(ttrpc::Error::RpcStatus(status))
}

fn no_exec(exec_id: &str) -> Result<(), Error> {
    match exec_id {
        "" => Ok(()),
        id => Err(Error::NotFound(format!("process {id}"))),
    }
}

/// Mounts the container's root file system where containerd leaves that to the shim.
fn mount_root(request: &api::CreateTaskRequest) -> Result<(), Error> {
    let bundle = Path::new(&request.bundle);
    let mut spec = Spec::load(bundle.join("config.json")).map_err(|error| {
        Error::InvalidArgument(format!(
            "cannot read the container's specification: {error}"
        ))
    })?;
    spec.canonicalize_rootfs(bundle).map_err(|error| {
        Error::InvalidArgument(format!(
            "cannot find the container's root file system: {error}"
        ))
    })?;
    let root = spec.root().as_ref().map(|root| root.path());
    let root = root.ok_or_else(|| {
        Error::InvalidArgument("the container has no root file system".to_owned())
    })?;
    if !root.exists() {
        std::fs::create_dir_all(root)
            .with_context(|| format!("cannot make `{}`", root.display()))?;
    }
    for mount in &request.rootfs {
        let (kind, source) = (given(&mount.type_), given(&mount.source));
        containerd_shim::mount::mount_rootfs(kind, source, &mount.options, root)?;
    }
    Ok(())
}

/// Fields that are left out come as empty text.
fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn stats(pid: u32) -> anyhow::Result<Any> {
    let metrics = containerd_shim::cgroup::collect_metrics(pid)
        .map_err(|error| anyhow!("cannot read the container's control group: {error}"))?;
    convert_to_any(Box::new(metrics)).map_err(|error| anyhow!("cannot tell the measures: {error}"))
}

fn timestamp(ended: Ended) -> Timestamp {
    Timestamp {
        seconds: ended.at.timestamp(),
        nanos: ended.at.timestamp_subsec_nanos().cast_signed(),
        ..Timestamp::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_or_starts_is_not_deleted() {
        for life in [Life::Started, Life::Starting] {
            let running = life.may_be_deleted(false);
            assert!(
                matches!(running, Err(Error::FailedPrecondition(_))),
                "{running:?}"
            );
        }
        for life in [Life::Created, Life::Failed] {
            life.may_be_deleted(false).unwrap();
        }
        Life::Started.may_be_deleted(true).unwrap();
    }

    #[test]
    fn a_call_that_is_not_written_is_not_taken_for_a_container_that_ended() {
        let Err(ttrpc::Error::RpcStatus(status)) = not_offered("pause") else {
            panic!("it is an answer");
        };
        assert_eq!(status.code(), ttrpc::Code::UNIMPLEMENTED);
        assert!(status.message().contains("pause"));
    }
}
