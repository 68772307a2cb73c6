//! containerd's calls about the containers of one pod.
//!
//! No call waits for another: a container that is starting, hangs or does not end can
//! still be queried and killed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::anyhow;
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
use containerd_shimkit::sandbox::Error;

use crate::Program;
use crate::container::{self, Container, Creation, Streams};
use crate::node::cgroup;
use crate::node::limits::Limits;
use crate::shim::events::Events;
use crate::shim::reaper::Ended;
use crate::spec;

mod options;

/// What is common to all containers of the pod.
pub(crate) struct Context {
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// The address of containerd's main socket.
    pub(crate) containerd: String,
    /// Events sent to containerd.
    pub(crate) events: Events,
    /// The program that prepares and serves applications.
    pub(crate) program: &'static Program,
}

/// The containers of a pod.
pub(crate) struct Service {
    context: Arc<Context>,
    containers: Mutex<HashMap<String, Arc<Container>>>,
    exit: Arc<ExitSignal>,
}

impl Service {
    /// `exit` ends the process.
    pub(crate) fn new(context: Context, exit: Arc<ExitSignal>) -> Self {
        Self {
            context: Arc::new(context),
            containers: Mutex::default(),
            exit,
        }
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<String, Arc<Container>>> {
        // Every change is a single step, so a panic elsewhere leaves no inconsistent
        // state.
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, Error> {
        let container = self.containers().get(id).cloned();
        container.ok_or_else(|| Error::NotFound(format!("container {id}")))
    }

    fn make(&self, request: &api::CreateTaskRequest) -> Result<Container, Error> {
        if !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty() {
            return Err(Error::InvalidArgument("checkpoints are not offered".into()));
        }
        if request.terminal {
            return Err(Error::InvalidArgument("terminals are not offered".into()));
        }
        if self.containers().contains_key(&request.id) {
            return Err(Error::AlreadyExists(format!("container {}", request.id)));
        }
        let options = options::read(request.options.as_ref())
            .map_err(|error| Error::InvalidArgument(format!("{error:#}")))?;
        let bundle = PathBuf::from(&request.bundle);
        let spec = spec::read(&bundle)
            .map_err(|error| Error::InvalidArgument(format!("{:#}", anyhow!(error))))?;
        let root = spec.root().ok_or_else(|| {
            Error::InvalidArgument("the container has no root file system".to_owned())
        })?;
        container::mount(root, &request.rootfs)?;
        let creation = Creation {
            id: request.id.clone(),
            bundle,
            streams: Streams {
                stdin: request.stdin.as_str().into(),
                stdout: request.stdout.as_str().into(),
                stderr: request.stderr.as_str().into(),
            },
            systemd_cgroup: options.systemd_cgroup,
            spec,
        };
        Container::new(creation, Arc::clone(&self.context)).block_on()
    }
}

impl Calls for Service {
    fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> TtrpcResult<api::CreateTaskResponse> {
        let container = self.make(&request)?;
        let pid = container.init().pid();
        self.containers()
            .insert(request.id.clone(), Arc::new(container));
        self.context.events.send(&TaskCreate {
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
        let container = self.container(&request.id)?;
        let pid = container.process(&request.exec_id)?.pid();
        container.start().block_on()?;
        let id = request.id;
        self.context.events.send(&TaskStart {
            container_id: id.clone(),
            pid,
            ..TaskStart::default()
        });
        let context = Arc::clone(&self.context);
        async move {
            let ended = container.wait().await;
            context.events.send(&TaskExit {
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
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let ended = process.ended();
        let streams = process.streams();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Ok(api::StateResponse {
            id: request.id,
            bundle: text(container.bundle()),
            pid: process.pid(),
            status: process.status().into(),
            stdin: text(&streams.stdin),
            stdout: text(&streams.stdout),
            stderr: text(&streams.stderr),
            exit_status: ended.map_or(0, |ended| ended.code),
            exited_at: ended.map(timestamp).into(),
            ..api::StateResponse::default()
        })
    }

    fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> TtrpcResult<api::Empty> {
        let container = self.container(&request.id)?;
        if container.process(&request.exec_id)?.ended().is_some() {
            // runc's shim returns the same error, which containerd treats as success.
            return Err(Error::NotFound("process already finished".into()).into());
        }
        container.kill(request.signal, request.all)?;
        Ok(api::Empty::default())
    }

    fn wait(&self, _: &TtrpcContext, request: api::WaitRequest) -> TtrpcResult<api::WaitResponse> {
        let container = self.container(&request.id)?;
        container.process(&request.exec_id)?;
        let ended = container.wait().block_on();
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
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        // A second caller receives this error only once the container is gone, as with
        // runc's shim: containerd then cleans up what the first call is still about to
        // remove.
        let _turn = container.deleting();
        if !Arc::ptr_eq(&container, &self.container(&request.id)?) {
            return Err(Error::NotFound(format!("container {}", request.id)).into());
        }
        container.delete().block_on()?;
        self.containers().remove(&request.id);
        let pid = process.pid();
        let ended = process.ended();
        let exit_status = ended.map_or(0, |ended| ended.code);
        self.context.events.send(&TaskDelete {
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

    /// containerd calls this after a restart, and cleans up shims that do not answer as
    /// leftovers.
    fn pids(&self, _: &TtrpcContext, request: api::PidsRequest) -> TtrpcResult<api::PidsResponse> {
        let container = self.container(&request.id)?;
        let Some(processes) = container.processes() else {
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
        let container = self.container(&request.id)?;
        let measured = stats(container.init().pid()).map_err(Error::Any)?;
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
        let container = self.container(&request.id)?;
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: container.init().pid(),
            ..api::ConnectResponse::default()
        })
    }

    fn update(&self, _: &TtrpcContext, request: api::UpdateTaskRequest) -> TtrpcResult<api::Empty> {
        let container = self.container(&request.id)?;
        let limits = Limits::read(request.resources.as_ref(), cgroup::is_unified())
            .map_err(|error| Error::InvalidArgument(error.to_string()))?;
        if container.init().ended().is_some() {
            return Err(Error::NotFound("process already finished".into()).into());
        }
        container.update(limits)?;
        Ok(api::Empty::default())
    }

    fn close_io(&self, _: &TtrpcContext, request: api::CloseIORequest) -> TtrpcResult<api::Empty> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        if request.stdin {
            process.close_stdin();
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
        if self.containers().is_empty() {
            self.exit.signal();
        }
        Ok(api::Empty::default())
    }
}

/// The answer to a call that is not implemented. The library would say that there is no
/// such container, which containerd takes for one that has ended.
fn not_offered(what: &str) -> TtrpcResult<api::Empty> {
    let message = format!("{what} is not offered by this runtime");
    let status = ttrpc::get_status(ttrpc::Code::UNIMPLEMENTED, message);
    Err(ttrpc::Error::RpcStatus(status))
}

fn stats(pid: u32) -> anyhow::Result<Any> {
    let metrics = containerd_shim::cgroup::collect_metrics(pid)
        .map_err(|error| anyhow!("cannot read the container's control group: {error}"))?;
    convert_to_any(Box::new(metrics)).map_err(|error| anyhow!("cannot encode the metrics: {error}"))
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
    fn a_call_that_is_not_written_is_not_taken_for_a_container_that_ended() {
        let Err(ttrpc::Error::RpcStatus(status)) = not_offered("pause") else {
            panic!("it is an answer");
        };
        assert_eq!(status.code(), ttrpc::Code::UNIMPLEMENTED);
        assert!(status.message().contains("pause"));
    }
}
