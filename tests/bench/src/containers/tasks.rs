//! Tasks through containerd's API, without the start-up time of `ctr` in the figures.

use std::io;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::MountsRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    CreateTaskRequest, DeleteTaskRequest, GetContainerRequest, KillRequest, StartRequest,
    WaitRequest,
};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Status};
use containerd_client::types::Mount;
use containerd_client::{tonic, with_namespace};
use skiff_test_support::Containerd;
use skiff_test_support::cri::CriError;
use skiff_test_support::ctr::CtrError;

/// SIGKILL.
const SIGKILL: u32 = 9;

/// What can go wrong with a task.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The API cannot be reached.
    #[error("containerd's API cannot be reached")]
    Connect(#[source] tonic::transport::Error),
    /// A call was refused.
    #[error("{call} of {id}: {}", status.message())]
    Refused {
        /// The call.
        call: &'static str,
        /// The container.
        id: String,
        /// containerd's error.
        status: Box<Status>,
    },
    /// The container cannot be made or removed.
    #[error("{}", last_line(.0))]
    Ctr(#[from] CtrError),
    /// A pod cannot be run.
    #[error(transparent)]
    Pod(#[from] CriError),
    /// There is no free port, or the state of a node cannot be removed.
    #[error("cannot prepare a start")]
    Prepare(#[from] io::Error),
    /// It runs but does not answer.
    #[error("{id} did not answer with success within {seconds} s")]
    NoAnswer {
        /// The container.
        id: String,
        /// How long was waited.
        seconds: u64,
    },
}

/// The specification of a container.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// containerd's type of the runtime.
    pub runtime: String,
    /// The image's name.
    pub image: String,
    /// Arguments that replace the image's command, unless empty.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
}

impl Recipe {
    /// The options and arguments of `ctr run` or `ctr containers create`, for a
    /// container with the network of the bench itself.
    pub fn words(&self, id: &str) -> Vec<String> {
        let mut words = ["--net-host", "--runtime", &self.runtime]
            .map(str::to_owned)
            .to_vec();
        for (name, value) in &self.environment {
            words.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        words.extend([self.image.clone(), id.to_owned()]);
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// A container without a task.
#[derive(Debug)]
pub struct Made {
    id: String,
    rootfs: Vec<Mount>,
}

/// The tasks of one containerd, on the network of the bench itself.
#[derive(Debug)]
pub struct Tasks<'a> {
    containerd: &'a Containerd,
    channel: Channel,
    namespace: String,
}

impl<'a> Tasks<'a> {
    /// Connects to the API.
    ///
    /// # Errors
    /// If its socket does not answer.
    pub async fn connect(containerd: &'a Containerd) -> Result<Self, TaskError> {
        let channel = containerd_client::connect(containerd.socket())
            .await
            .map_err(TaskError::Connect)?;
        let namespace = containerd.run().name().to_owned();
        Ok(Self {
            containerd,
            channel,
            namespace,
        })
    }

    /// Prepares the snapshot and writes the container's record.
    ///
    /// # Errors
    /// containerd's error.
    pub async fn make(&self, id: &str, recipe: &Recipe) -> Result<Made, TaskError> {
        let mut words = vec!["containers".to_owned(), "create".to_owned()];
        words.extend(recipe.words(id));
        self.containerd.ctr(&words).await?;

        let namespace = &self.namespace;
        let request = GetContainerRequest { id: id.to_owned() };
        let record = ContainersClient::new(self.channel.clone())
            .get(with_namespace!(request, namespace))
            .await
            .map_err(refused("Containers.Get", id))?;
        let container = record.into_inner().container.unwrap_or_default();
        let request = MountsRequest {
            snapshotter: container.snapshotter,
            key: container.snapshot_key,
        };
        let mounts = SnapshotsClient::new(self.channel.clone())
            .mounts(with_namespace!(request, namespace))
            .await
            .map_err(refused("Snapshots.Mounts", id))?;
        Ok(Made {
            id: id.to_owned(),
            rootfs: mounts.into_inner().mounts,
        })
    }

    /// Creates its task and starts it. On our side, these calls are the time of a start;
    /// output is discarded.
    ///
    /// # Errors
    /// containerd's error, with that of the shim.
    pub async fn start(&self, made: &Made) -> Result<(), TaskError> {
        let (id, namespace) = (&made.id, &self.namespace);
        let mut client = TasksClient::new(self.channel.clone());
        let request = CreateTaskRequest {
            container_id: id.clone(),
            rootfs: made.rootfs.clone(),
            ..CreateTaskRequest::default()
        };
        client
            .create(with_namespace!(request, namespace))
            .await
            .map_err(refused("Tasks.Create", id))?;
        let request = StartRequest {
            container_id: id.clone(),
            ..StartRequest::default()
        };
        client
            .start(with_namespace!(request, namespace))
            .await
            .map_err(refused("Tasks.Start", id))?;
        Ok(())
    }

    /// Ends the task, if there is one, and removes the whole container.
    ///
    /// # Errors
    /// If the container cannot be removed. A missing task is not an error.
    pub async fn remove(&self, made: Made) -> Result<(), TaskError> {
        let (id, namespace) = (&made.id, &self.namespace);
        let mut client = TasksClient::new(self.channel.clone());
        let kill = KillRequest {
            container_id: id.clone(),
            signal: SIGKILL,
            all: true,
            ..KillRequest::default()
        };
        if client.kill(with_namespace!(kill, namespace)).await.is_ok() {
            let wait = WaitRequest {
                container_id: id.clone(),
                ..WaitRequest::default()
            };
            client
                .wait(with_namespace!(wait, namespace))
                .await
                .map_err(refused("Tasks.Wait", id))?;
        }
        let delete = DeleteTaskRequest {
            container_id: id.clone(),
        };
        // Without a task, deleting the container decides.
        client.delete(with_namespace!(delete, namespace)).await.ok();
        self.containerd.ctr(&["containers", "delete", id]).await?;
        Ok(())
    }
}

/// `ctr` prints the cause last, after all of its arguments.
fn last_line(error: &CtrError) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().to_owned()
}

fn refused(call: &'static str, id: &str) -> impl FnOnce(Status) -> TaskError {
    let id = id.to_owned();
    move |status| TaskError::Refused {
        call,
        id,
        status: Box::new(status),
    }
}
