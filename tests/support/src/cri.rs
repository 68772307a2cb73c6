//! containerd's CRI services, used as kubelet uses them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use k8s_cri::v1 as api;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::pod::Pod;

/// How long containerd's CRI may take to see an imported image: it learns of it by an
/// event.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// What can go wrong with one call.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// containerd answered with an error, which kubelet turns into an event.
    #[error("{call}: {}", status.message())]
    Refused {
        /// The call.
        call: &'static str,
        /// containerd's error.
        status: Box<tonic::Status>,
    },
    /// An answer lacks a mandatory part.
    #[error("{call}: the answer has no {part}")]
    Incomplete {
        /// The call.
        call: &'static str,
        /// The missing part.
        part: &'static str,
    },
    /// An imported image does not show up.
    #[error("image `{0}` is not seen")]
    ImageUnseen(String),
    /// Something did not happen in time.
    #[error("{what} did not happen within {limit:?}")]
    TooLate {
        /// The awaited event.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// A log file or a folder for it cannot be used.
    #[error("cannot use `{}`", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl CriError {
    /// The text containerd gave, which is what the pod's event shows.
    pub fn message(&self) -> String {
        match self {
            Self::Refused { status, .. } => status.message().to_owned(),
            other => other.to_string(),
        }
    }

    pub(crate) fn refused(call: &'static str) -> impl Fn(tonic::Status) -> Self {
        move |status| Self::Refused {
            call,
            status: Box::new(status),
        }
    }
}

/// A connection to both services. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cri {
    channel: Channel,
    /// It holds the logs of pods, one folder each.
    logs: PathBuf,
    /// The parent cgroup of all pods.
    cgroup: String,
    pods: Arc<AtomicU32>,
}

impl Cri {
    /// Connects on first use. Pod logs go below `folder`, pods' cgroups below `cgroup`.
    pub(crate) fn connect(socket: &Path, folder: &Path, cgroup: &str) -> Self {
        let channel = channel(socket);
        let (logs, cgroup) = (folder.join("pods"), cgroup.to_owned());
        Self {
            channel,
            logs,
            cgroup,
            pods: Arc::default(),
        }
    }

    pub(crate) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone())
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// Whether runtime and network are ready for pods.
    ///
    /// # Errors
    ///
    /// When containerd does not answer.
    pub async fn ready(&self) -> Result<bool, CriError> {
        let request = api::StatusRequest { verbose: false };
        let answer = self
            .runtime()
            .status(request)
            .await
            .map_err(CriError::refused("Status"))?;
        let conditions = answer.into_inner().status.unwrap_or_default().conditions;
        // There are other conditions, for example that no setting is deprecated.
        let holds = |wanted: &str| {
            conditions
                .iter()
                .any(|one| one.r#type == wanted && one.status)
        };
        Ok(holds("RuntimeReady") && holds("NetworkReady"))
    }

    /// Waits until an imported image is seen.
    ///
    /// # Errors
    ///
    /// When it is not seen in time.
    pub async fn wait_for_image(&self, name: &str) -> Result<(), CriError> {
        const AGAIN: Duration = Duration::from_millis(10);
        let end = Instant::now() + SEEN_WITHIN;
        loop {
            if self.image(name).await?.is_some() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(CriError::ImageUnseen(name.to_owned()));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The id that kubelet uses for an image in the CRI.
    ///
    /// # Errors
    ///
    /// When it is unknown.
    pub async fn image_id(&self, name: &str) -> Result<String, CriError> {
        let image = self.image(name).await?;
        let image = image.ok_or_else(|| CriError::ImageUnseen(name.to_owned()))?;
        Ok(image.id)
    }

    async fn image(&self, name: &str) -> Result<Option<api::Image>, CriError> {
        let image = api::ImageSpec {
            image: name.to_owned(),
            ..Default::default()
        };
        let request = api::ImageStatusRequest {
            image: Some(image),
            verbose: false,
        };
        let answer = self
            .images()
            .image_status(request)
            .await
            .map_err(CriError::refused("ImageStatus"))?;
        Ok(answer.into_inner().image)
    }

    /// Runs the sandbox of a pod: its namespaces, its network, its pause container, under
    /// the handler's runtime.
    ///
    /// # Errors
    ///
    /// containerd's error, or when the pod gets no address.
    pub async fn run_pod(&self, name: &str, handler: &str) -> Result<Pod, CriError> {
        self.run_sandbox(name, handler, None).await
    }

    /// The same with name servers, search domains and options of its own, which containerd
    /// writes into the `resolv.conf` of its containers.
    ///
    /// # Errors
    ///
    /// containerd's error, or when the pod gets no address.
    pub async fn run_pod_with_names(
        &self,
        name: &str,
        handler: &str,
        names: api::DnsConfig,
    ) -> Result<Pod, CriError> {
        self.run_sandbox(name, handler, Some(names)).await
    }

    async fn run_sandbox(
        &self,
        name: &str,
        handler: &str,
        names: Option<api::DnsConfig>,
    ) -> Result<Pod, CriError> {
        // Uids make pods unique, as kubelet's do: a name may be reused.
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let uid = format!("{name}-{number}");
        let logs = self.logs.join(&uid);
        std::fs::create_dir_all(&logs).map_err(|source| CriError::File {
            path: logs.clone(),
            source,
        })?;
        let config = api::PodSandboxConfig {
            dns_config: names,
            ..self.sandbox(name, uid, &logs)
        };
        let request = api::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.to_owned(),
        };
        let answer = self
            .runtime()
            .run_pod_sandbox(request)
            .await
            .map_err(CriError::refused("RunPodSandbox"))?;
        let id = answer.into_inner().pod_sandbox_id;
        let ip = self.address(&id).await?;
        Ok(Pod::new(self.clone(), id, ip, config, logs))
    }

    /// Stops and removes every pod, whatever created it.
    ///
    /// # Errors
    ///
    /// containerd's first error; the other pods are removed all the same.
    pub async fn remove_all_pods(&self) -> Result<(), CriError> {
        let request = api::ListPodSandboxRequest { filter: None };
        let listed = self
            .runtime()
            .list_pod_sandbox(request)
            .await
            .map_err(CriError::refused("ListPodSandbox"))?;
        let mut outcome = Ok(());
        for pod in listed.into_inner().items {
            let removed = self.remove_pod(&pod.id).await;
            outcome = outcome.and(removed);
        }
        outcome
    }

    pub(crate) async fn stop_pod(&self, id: &str) -> Result<(), CriError> {
        let request = api::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let stopped = self.runtime().stop_pod_sandbox(request).await;
        stopped
            .map(drop)
            .map_err(CriError::refused("StopPodSandbox"))
    }

    pub(crate) async fn remove_pod(&self, id: &str) -> Result<(), CriError> {
        self.stop_pod(id).await?;
        let request = api::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let removed = self.runtime().remove_pod_sandbox(request).await;
        removed
            .map(drop)
            .map_err(CriError::refused("RemovePodSandbox"))
    }

    async fn address(&self, id: &str) -> Result<String, CriError> {
        const CALL: &str = "PodSandboxStatus";
        let request = api::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        let answer = self
            .runtime()
            .pod_sandbox_status(request)
            .await
            .map_err(CriError::refused(CALL))?;
        let network = answer.into_inner().status.and_then(|status| status.network);
        network
            .map(|network| network.ip)
            .filter(|ip| !ip.is_empty())
            .ok_or(CriError::Incomplete {
                call: CALL,
                part: "address",
            })
    }

    fn sandbox(&self, name: &str, uid: String, logs: &Path) -> api::PodSandboxConfig {
        let namespace = "suite".to_owned();
        let labels = HashMap::from([
            ("io.kubernetes.pod.name".to_owned(), name.to_owned()),
            ("io.kubernetes.pod.namespace".to_owned(), namespace.clone()),
            ("io.kubernetes.pod.uid".to_owned(), uid.clone()),
        ]);
        let linux = api::LinuxPodSandboxConfig {
            cgroup_parent: format!("/{}/pods/{uid}", self.cgroup),
            ..Default::default()
        };
        let metadata = api::PodSandboxMetadata {
            name: name.to_owned(),
            uid,
            namespace,
            attempt: 0,
        };
        api::PodSandboxConfig {
            metadata: Some(metadata),
            hostname: name.to_owned(),
            log_directory: logs.display().to_string(),
            labels,
            linux: Some(linux),
            ..Default::default()
        }
    }
}

/// Reads the container events that containerd keeps for five minutes without a reader.
/// Call it while no container starts or ends: it stops after a second without an event.
///
/// # Errors
///
/// When containerd refuses, or ends the stream.
pub async fn take_events(socket: &Path) -> Result<(), CriError> {
    const CALL: &str = "GetContainerEvents";
    const QUIET: Duration = Duration::from_secs(1);
    let mut runtime = RuntimeServiceClient::new(channel(socket));
    // The answer starts with the first event.
    let asking = runtime.get_container_events(api::GetEventsRequest {});
    let Ok(answer) = tokio::time::timeout(QUIET, asking).await else {
        return Ok(());
    };
    let mut events = answer.map_err(CriError::refused(CALL))?.into_inner();
    while let Ok(event) = tokio::time::timeout(QUIET, events.message()).await {
        let part = "further event";
        let end = CriError::Incomplete { call: CALL, part };
        event.map_err(CriError::refused(CALL))?.ok_or(end)?;
    }
    Ok(())
}

/// A connection that is made on first use.
fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used: the connector knows the socket.
    Endpoint::from_static("http://containerd").connect_with_connector_lazy(connector)
}
