//! Common steps with a pod.

use std::time::Duration;

use anyhow::{Context, bail};
use skiff_test_support::http::{self, Reply};
use skiff_test_support::{Container, ContainerSpec, Pod};

use crate::apps::Kind;
use crate::node::{Node, SKIFF};

/// The limit for anything that should be quick. It is not a promise of speed: a debug
/// build compiles each new component first.
pub const SOON: Duration = Duration::from_secs(60);

/// How long a container may take to end after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(20);

/// A kind of container: those of the shim are compared with runc's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A Linux container under runc.
    Runc,
    /// A Linux container under the shim.
    Linux,
    /// A Wasm container.
    Wasm,
}

impl Subject {
    /// All of them, runc's first.
    pub const ALL: [Self; 3] = [Self::Runc, Self::Linux, Self::Wasm];

    /// A word for names of cases, pods and tasks.
    pub fn word(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Linux => "linux",
            Self::Wasm => "wasm",
        }
    }

    /// The runtime handler of its pods.
    pub fn handler(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Linux | Self::Wasm => "skiff",
        }
    }

    /// The runtime type of its tasks.
    pub fn runtime(self) -> &'static str {
        match self {
            Self::Runc => "io.containerd.runc.v2",
            Self::Linux | Self::Wasm => SKIFF,
        }
    }

    /// A container that answers at port 8080 of its pod until it is ended.
    ///
    /// # Errors
    ///
    /// When its image cannot be made or imported.
    pub async fn server(self, node: &Node) -> anyhow::Result<ContainerSpec> {
        if self == Self::Wasm {
            let image = node.guest_image(Kind::Spin, "hello").await?;
            let spec = Kind::Spin.container("server", &image);
            return Ok(spec.env("SKIFF_HTTP_LISTEN_ADDR", "[::]:8080"));
        }
        let image = node.native_image().await?;
        Ok(ContainerSpec::new("server", &image).args(&["serve", "8080"]))
    }
}

/// A pod of the shim with one Wasm container in it.
pub struct Served {
    /// The pod.
    pub pod: Pod,
    /// Its one container.
    pub container: Container,
}

impl Served {
    /// Runs a pod of that name with a container of `spec`, and waits until it is healthy.
    ///
    /// # Errors
    ///
    /// When it does not start or never answers; the error shows its logs.
    pub async fn start(node: &Node, name: &str, spec: &ContainerSpec) -> anyhow::Result<Self> {
        let pod = node.cri().run_pod(name, "skiff").await?;
        let container = pod.run(spec).await?;
        let served = Self { pod, container };
        served.healthy(80).await?;
        Ok(served)
    }

    /// Waits until the host's own endpoint answers at that port.
    ///
    /// # Errors
    ///
    /// When it never does; the error shows the container's logs.
    pub async fn healthy(&self, port: u16) -> anyhow::Result<()> {
        let url = self.pod.url(port, "/.well-known/spin/health");
        let reply = http::get_until_ok(&url, SOON).await;
        let text = reply.with_context(|| self.story())?.text();
        if text != "OK" {
            bail!("health is `{text}`; {}", self.story());
        }
        Ok(())
    }

    /// GET at port 80.
    ///
    /// # Errors
    ///
    /// When no answer comes; the error shows the container's logs.
    pub async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.pod.get(path).await.with_context(|| self.story())
    }

    /// Stops the container as kubelet would and removes the pod; returns the exit code.
    ///
    /// # Errors
    ///
    /// containerd's error.
    pub async fn end(self) -> anyhow::Result<i32> {
        self.container.stop(GRACE).await?;
        let status = self.container.status().await?;
        self.pod.remove().await?;
        Ok(status.exit_code)
    }

    fn story(&self) -> String {
        format!(
            "container {} printed {:#?}",
            self.container.id(),
            self.container.logs()
        )
    }
}

/// The three places that must report a failed start.
pub struct Refusal {
    /// The error of the call, which becomes an event of the pod.
    pub call: String,
    /// The container's output.
    pub logs: String,
    /// The termination message.
    pub last_words: String,
}

impl Refusal {
    /// Tries to start a container that must not start.
    ///
    /// # Errors
    ///
    /// When it starts, or something else fails.
    pub async fn of(node: &Node, name: &str, spec: ContainerSpec) -> anyhow::Result<Self> {
        let pod = node.cri().run_pod(name, "skiff").await?;
        let refusal = Self::within(&pod, spec).await?;
        pod.remove().await?;
        Ok(refusal)
    }

    /// The same in an existing pod.
    ///
    /// # Errors
    ///
    /// When it starts, or something else fails.
    pub async fn within(pod: &Pod, spec: ContainerSpec) -> anyhow::Result<Self> {
        let container = pod.create(&spec.termination_message()).await?;
        let Err(error) = container.start().await else {
            bail!("it started; it printed {:#?}", container.logs());
        };
        // containerd may answer the call before it has written the log.
        container.wait_log("", SOON).await?;
        let lines = container.logs()?.into_iter().map(|line| line.text + "\n");
        let refusal = Self {
            call: error.message(),
            logs: lines.collect(),
            last_words: container.last_words(),
        };
        container.remove().await?;
        Ok(refusal)
    }

    /// Checks that each of the three places contains all of these.
    ///
    /// # Errors
    ///
    /// The first place that does not, with its text.
    pub fn tells(&self, words: &[&str]) -> anyhow::Result<()> {
        let places = [
            ("the error of the call", &self.call),
            ("the log", &self.logs),
            ("the termination message", &self.last_words),
        ];
        for (place, text) in places {
            for word in words {
                anyhow::ensure!(
                    text.contains(word),
                    "{place} does not contain `{word}`: {text:?}"
                );
            }
        }
        Ok(())
    }
}
