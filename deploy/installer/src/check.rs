//! Runs a hello through the new runtime on this node, as containerd runs any container,
//! before any pod does.
//!
//! It uses a separate containerd namespace, so that the kubelet never sees it, and no
//! network. Everything it creates is removed, also after a failure, and so are the
//! leftovers of a killed run.

mod content;
mod error;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateImageRequest, CreateNamespaceRequest,
    CreateTaskRequest, DeleteContainerRequest, DeleteImageRequest, DeleteNamespaceRequest,
    DeleteTaskRequest, Image, KillRequest, ListContainersRequest, ListImagesRequest, Namespace,
    StartRequest, WaitRequest,
};
use containerd_client::tonic::Request;
use containerd_client::tonic::metadata::MetadataValue;
use containerd_client::tonic::transport::Channel;
use serde_json::json;
use tokio::time::timeout;

use crate::RUNTIME;
use crate::host::Host;
use content::Hello;
use error::{gone, refused};

pub use content::HelloError;
pub use error::CheckError;

/// The containerd namespace of the check.
const NAMESPACE: &str = "skiff-check";

/// The one container in it, and the name of its cgroup.
const ID: &str = "skiff-check";

/// The name of the hello's image in containerd.
const IMAGE: &str = "skiff.dev/check:hello";

/// The hello's folder on the node: its output and its root folder.
const FOLDER: &str = "/run/skiff-check";

/// The hello's root folder in it. It holds only mount points.
const ROOT: &str = "root";

/// How long the hello may take. It takes half a second, and compiling it again as
/// much; a node that is just starting its pods may be much slower.
pub const CHECKED_WITHIN: Duration = Duration::from_secs(60);

/// How long removing its leftovers may take.
const CLEARED_WITHIN: Duration = Duration::from_secs(20);

/// The parameters of a check.
#[derive(Debug, Clone)]
pub struct Check {
    /// Where containerd listens, as the node knows it.
    pub socket: PathBuf,
    /// The hello, as an OCI layout on this machine.
    pub hello: PathBuf,
    /// The shim on the node; `None` for the one that containerd finds by its name.
    pub shim: Option<PathBuf>,
    /// How long it may take.
    pub within: Duration,
}

impl Check {
    /// Runs it, and cleans up.
    ///
    /// # Errors
    ///
    /// If it fails, or something cannot be removed.
    pub async fn run(&self, host: &Host) -> Result<(), CheckError> {
        let hello = Hello::open(&self.hello)?;
        let connect = |source: Box<dyn std::error::Error + Send + Sync>| CheckError::Connect {
            socket: self.socket.clone(),
            source,
        };
        let socket = host.locate(&self.socket)?;
        let channel = containerd_client::connect(socket)
            .await
            .map_err(|error| connect(error.into()))?;
        let scene = Scene {
            host,
            channel,
            digests: hello.digests(),
        };
        scene.clear().await?;
        let checked = match timeout(self.within, scene.play(self, &hello)).await {
            Ok(checked) => checked,
            Err(_) => Err(CheckError::TooLate {
                within: self.within,
            }),
        };
        let cleared = match timeout(CLEARED_WITHIN, scene.clear()).await {
            Ok(cleared) => cleared,
            Err(_) => Err(CheckError::TooLate {
                within: CLEARED_WITHIN,
            }),
        };
        checked.and(cleared.map_err(|error| CheckError::NotCleared(Box::new(error))))
    }
}

/// Everything that is created for the hello.
struct Scene<'a> {
    host: &'a Host,
    channel: Channel,
    digests: Vec<String>,
}

impl Scene<'_> {
    async fn play(&self, check: &Check, hello: &Hello) -> Result<(), CheckError> {
        self.make_namespace().await?;
        content::upload(&self.channel, hello).await?;
        self.make_image(hello).await?;
        self.make_container().await?;
        let (stdout, stderr) = self.make_output()?;
        let shim = check.shim.as_deref().unwrap_or(Path::new(""));
        let status = self.run_task(shim, &stdout, &stderr).await?;
        let text = |path: &Path| self.host.read_text(path).map(Option::unwrap_or_default);
        let output = text(&stdout)?;
        if status != 0 {
            let output = format!("{output}{}", text(&stderr)?).trim().to_owned();
            return Err(CheckError::Status { status, output });
        }
        match hello.expected() {
            Some(expected) if output != expected => Err(CheckError::Output {
                output,
                expected: expected.to_owned(),
            }),
            None if output.trim().is_empty() => Err(CheckError::Output {
                output,
                expected: "anything".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    async fn make_namespace(&self) -> Result<(), CheckError> {
        let namespace = Namespace {
            name: NAMESPACE.to_owned(),
            labels: HashMap::new(),
        };
        let request = CreateNamespaceRequest {
            namespace: Some(namespace),
        };
        let made = NamespacesClient::new(self.channel.clone())
            .create(request)
            .await;
        made.map(drop).map_err(refused("make a namespace"))
    }

    async fn make_image(&self, hello: &Hello) -> Result<(), CheckError> {
        let image = Image {
            name: IMAGE.to_owned(),
            target: Some(hello.target()),
            ..Image::default()
        };
        let request = inside(CreateImageRequest {
            image: Some(image),
            source_date_epoch: None,
        });
        let made = ImagesClient::new(self.channel.clone())
            .create(request)
            .await;
        made.map(drop).map_err(refused("make an image"))
    }

    async fn make_container(&self) -> Result<(), CheckError> {
        let spec = prost_types::Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(),
            value: spec().to_string().into_bytes(),
        };
        let runtime = Runtime {
            name: RUNTIME.to_owned(),
            options: None,
        };
        let container = Container {
            id: ID.to_owned(),
            image: IMAGE.to_owned(),
            runtime: Some(runtime),
            spec: Some(spec),
            ..Container::default()
        };
        let request = inside(CreateContainerRequest {
            container: Some(container),
        });
        let made = self.containers().create(request).await;
        made.map(drop).map_err(refused("make a container"))
    }

    fn make_output(&self) -> Result<(PathBuf, PathBuf), CheckError> {
        let folder = Path::new(FOLDER);
        for missing in [Path::new("/run"), folder, &folder.join(ROOT)] {
            self.host.make_folder(missing)?;
        }
        let files = (folder.join("stdout"), folder.join("stderr"));
        self.host.write(&files.0, b"")?;
        self.host.write(&files.1, b"")?;
        Ok(files)
    }

    async fn run_task(&self, shim: &Path, stdout: &Path, stderr: &Path) -> Result<u32, CheckError> {
        let request = inside(CreateTaskRequest {
            container_id: ID.to_owned(),
            stdout: stdout.to_string_lossy().into_owned(),
            stderr: stderr.to_string_lossy().into_owned(),
            runtime_path: shim.to_string_lossy().into_owned(),
            ..CreateTaskRequest::default()
        });
        let made = self.tasks().create(request).await;
        made.map_err(refused("create the hello"))?;
        let request = inside(StartRequest {
            container_id: ID.to_owned(),
            exec_id: String::new(),
        });
        let started = self.tasks().start(request).await;
        started.map_err(refused("start the hello"))?;
        let request = inside(WaitRequest {
            container_id: ID.to_owned(),
            exec_id: String::new(),
        });
        let ended = self.tasks().wait(request).await;
        Ok(ended
            .map_err(refused("wait for the hello"))?
            .into_inner()
            .exit_status)
    }

    /// Removes everything, dependants first. A missing object is not a failure.
    async fn clear(&self) -> Result<(), CheckError> {
        let listed = ListContainersRequest::default();
        let containers = self.containers().list(inside(listed)).await;
        let containers = containers.map_err(refused("list containers"))?;
        for container in containers.into_inner().containers {
            self.remove_task(&container.id).await?;
            let request = inside(DeleteContainerRequest { id: container.id });
            let removed = self.containers().delete(request).await;
            gone("remove the container", removed)?;
        }
        let mut images = ImagesClient::new(self.channel.clone());
        let listed = images.list(inside(ListImagesRequest::default())).await;
        for image in listed.map_err(refused("list images"))?.into_inner().images {
            let request = DeleteImageRequest {
                name: image.name,
                sync: true,
                ..DeleteImageRequest::default()
            };
            let removed = images.delete(inside(request)).await;
            gone("remove the image", removed)?;
        }
        content::remove(&self.channel, &self.digests).await?;
        let request = DeleteNamespaceRequest {
            name: NAMESPACE.to_owned(),
        };
        let removed = NamespacesClient::new(self.channel.clone())
            .delete(request)
            .await;
        gone("remove the namespace", removed)?;
        Ok(self.host.remove_tree(Path::new(FOLDER))?)
    }

    async fn remove_task(&self, id: &str) -> Result<(), CheckError> {
        const KILL: u32 = 9;
        let request = KillRequest {
            container_id: id.to_owned(),
            signal: KILL,
            all: true,
            ..KillRequest::default()
        };
        // A task that has ended, or was never started, cannot be killed: it only has to
        // be removable.
        let killed = self.tasks().kill(inside(request)).await.is_ok();
        if killed {
            let request = WaitRequest {
                container_id: id.to_owned(),
                exec_id: String::new(),
            };
            self.tasks().wait(inside(request)).await.ok();
        }
        let request = inside(DeleteTaskRequest {
            container_id: id.to_owned(),
        });
        gone("remove the hello", self.tasks().delete(request).await)
    }

    fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone())
    }

    fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone())
    }
}

/// The least that a container needs: its own namespaces, no network, no capabilities.
fn spec() -> serde_json::Value {
    let kinds = ["pid", "ipc", "uts", "mount", "network"];
    let namespaces = kinds.map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.1.0",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/"],
            "env": ["PATH=/"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {},
        },
        // Not in containerd's bundle, which could not be removed with mount points in it.
        "root": { "path": format!("{FOLDER}/{ROOT}") },
        "hostname": ID,
        "mounts": [
            {
                "destination": "/proc",
                "type": "proc",
                "source": "proc",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
        ],
        "linux": {
            "cgroupsPath": format!("/{ID}"),
            "namespaces": namespaces,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        },
    })
}

/// A call in the namespace of the check.
fn inside<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let namespace = MetadataValue::from_static(NAMESPACE);
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace);
    request
}

/// What can go wrong with a file on this machine.
fn unreadable(path: &Path) -> impl Fn(io::Error) -> HelloError + use<> {
    let path = path.to_owned();
    move |source| HelloError::Read {
        path: path.clone(),
        source,
    }
}
