//! A pod and its containers, from creation to removal.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_cri::v1 as api;

use crate::cri::{Cri, CriError};
use crate::http::{self, HttpError, Reply};
use crate::logs::{self, Line};
use crate::spec::ContainerSpec;

/// How often a wait polls, which is short compared with any wait.
const AGAIN: Duration = Duration::from_millis(5);

/// A running pod. It is removed by [`Pod::remove`], or at the latest when its
/// containerd is shut down.
#[derive(Debug)]
pub struct Pod {
    cri: Cri,
    id: String,
    ip: String,
    config: api::PodSandboxConfig,
    logs: PathBuf,
}

impl Pod {
    pub(crate) fn new(
        cri: Cri,
        id: String,
        ip: String,
        config: api::PodSandboxConfig,
        logs: PathBuf,
    ) -> Self {
        Self {
            cri,
            id,
            ip,
            config,
            logs,
        }
    }

    /// Its id at containerd, which is also its shim's.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its address.
    pub fn ip(&self) -> &str {
        &self.ip
    }

    /// The URL of a path at one of its ports.
    pub fn url(&self, port: u16, path: &str) -> String {
        format!("http://{}:{port}{path}", self.ip)
    }

    /// GET at port 80.
    ///
    /// # Errors
    ///
    /// When no complete answer comes; a status is never an error.
    pub async fn get(&self, path: &str) -> Result<Reply, HttpError> {
        http::get(&self.url(80, path)).await
    }

    /// Creates a container in it.
    ///
    /// # Errors
    ///
    /// containerd's error, with that of its shim.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<Container, CriError> {
        let termination = self.logs.join(format!("{}.termination", spec.name()));
        if spec.has_termination_message() {
            std::fs::write(&termination, "").map_err(|source| CriError::File {
                path: termination.clone(),
                source,
            })?;
        }
        let config = spec.config(&termination);
        let log = self.logs.join(&config.log_path);
        let request = api::CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let answer = self
            .cri
            .runtime()
            .create_container(request)
            .await
            .map_err(CriError::refused("CreateContainer"))?;
        let id = answer.into_inner().container_id;
        Ok(Container {
            cri: self.cri.clone(),
            id,
            log,
            termination,
        })
    }

    /// Creates a container and starts it.
    ///
    /// # Errors
    ///
    /// containerd's error of either call.
    pub async fn run(&self, spec: &ContainerSpec) -> Result<Container, CriError> {
        let container = self.create(spec).await?;
        container.start().await?;
        Ok(container)
    }

    /// Stops it and all its containers, and keeps it.
    ///
    /// # Errors
    ///
    /// containerd's error.
    pub async fn stop(&self) -> Result<(), CriError> {
        self.cri.stop_pod(&self.id).await
    }

    /// Stops and removes it.
    ///
    /// # Errors
    ///
    /// containerd's error.
    pub async fn remove(self) -> Result<(), CriError> {
        self.cri.remove_pod(&self.id).await
    }
}

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Created,
    /// Started.
    Running,
    /// Ended.
    Exited,
    /// Unknown to containerd.
    Unknown,
}

/// containerd's status of a container.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its state.
    pub state: State,
    /// Its exit code, once it ended.
    pub exit_code: i32,
    /// The reason for its end, in one word.
    pub reason: String,
    /// The message for its end.
    pub message: String,
}

/// A container of a pod. It is removed with the pod at the latest.
#[derive(Debug, Clone)]
pub struct Container {
    cri: Cri,
    id: String,
    log: PathBuf,
    termination: PathBuf,
}

impl Container {
    /// Its id at containerd.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// containerd's error, with that of its shim.
    pub async fn start(&self) -> Result<(), CriError> {
        let request = api::StartContainerRequest {
            container_id: self.id.clone(),
        };
        let started = self.cri.runtime().start_container(request).await;
        started
            .map(drop)
            .map_err(CriError::refused("StartContainer"))
    }

    /// Sets new limits, as an in-place resize of its pod does.
    ///
    /// # Errors
    ///
    /// containerd's error, with that of its shim.
    pub async fn update(&self, limits: api::LinuxContainerResources) -> Result<(), CriError> {
        let request = api::UpdateContainerResourcesRequest {
            container_id: self.id.clone(),
            linux: Some(limits),
            ..Default::default()
        };
        let updated = self.cri.runtime().update_container_resources(request).await;
        updated
            .map(drop)
            .map_err(CriError::refused("UpdateContainerResources"))
    }

    /// Sends SIGTERM, kills it after `grace`, and returns when it has ended.
    ///
    /// # Errors
    ///
    /// containerd's error.
    pub async fn stop(&self, grace: Duration) -> Result<(), CriError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = api::StopContainerRequest {
            container_id: self.id.clone(),
            timeout,
        };
        let stopped = self.cri.runtime().stop_container(request).await;
        stopped
            .map(drop)
            .map_err(CriError::refused("StopContainer"))
    }

    /// Removes it, ending it if it is running.
    ///
    /// # Errors
    ///
    /// containerd's error.
    pub async fn remove(self) -> Result<(), CriError> {
        let request = api::RemoveContainerRequest {
            container_id: self.id.clone(),
        };
        let removed = self.cri.runtime().remove_container(request).await;
        removed
            .map(drop)
            .map_err(CriError::refused("RemoveContainer"))
    }

    /// containerd's status of it.
    ///
    /// # Errors
    ///
    /// containerd's error.
    pub async fn status(&self) -> Result<Status, CriError> {
        const CALL: &str = "ContainerStatus";
        let request = api::ContainerStatusRequest {
            container_id: self.id.clone(),
            verbose: false,
        };
        let answer = self
            .cri
            .runtime()
            .container_status(request)
            .await
            .map_err(CriError::refused(CALL))?;
        let status = answer.into_inner().status.ok_or(CriError::Incomplete {
            call: CALL,
            part: "status",
        })?;
        let state = match status.state() {
            api::ContainerState::ContainerCreated => State::Created,
            api::ContainerState::ContainerRunning => State::Running,
            api::ContainerState::ContainerExited => State::Exited,
            api::ContainerState::ContainerUnknown => State::Unknown,
        };
        let api::ContainerStatus {
            exit_code,
            reason,
            message,
            ..
        } = status;
        Ok(Status {
            state,
            exit_code,
            reason,
            message,
        })
    }

    /// Waits until it has ended and returns its final status.
    ///
    /// # Errors
    ///
    /// When it does not end in time, or containerd does not know it.
    pub async fn wait_exit(&self, limit: Duration) -> Result<Status, CriError> {
        let end = Instant::now() + limit;
        loop {
            let status = self.status().await?;
            if status.state == State::Exited {
                return Ok(status);
            }
            if Instant::now() > end {
                return Err(CriError::TooLate {
                    what: format!("end of {}", self.id),
                    limit,
                });
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Its output so far.
    ///
    /// # Errors
    ///
    /// When the log cannot be read, or is not in the CRI's format.
    pub fn logs(&self) -> Result<Vec<Line>, CriError> {
        logs::read(&self.log).map_err(|source| CriError::File {
            path: self.log.clone(),
            source,
        })
    }

    /// Waits for a line that contains this text and returns all lines.
    ///
    /// # Errors
    ///
    /// When none comes in time; the error then shows all lines.
    pub async fn wait_log(&self, text: &str, limit: Duration) -> Result<Vec<Line>, CriError> {
        let end = Instant::now() + limit;
        loop {
            let lines = self.logs()?;
            if lines.iter().any(|line| line.text.contains(text)) {
                return Ok(lines);
            }
            if Instant::now() > end {
                let what = format!("a line with `{text}` among {lines:#?}");
                return Err(CriError::TooLate { what, limit });
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Its termination message; empty without [`ContainerSpec::termination_message`].
    pub fn last_words(&self) -> String {
        std::fs::read_to_string(&self.termination).unwrap_or_default()
    }
}
