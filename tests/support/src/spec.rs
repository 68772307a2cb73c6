//! The specification of a container, as kubelet would pass it to the CRI.

use std::collections::HashMap;
use std::path::Path;

use k8s_cri::v1 as api;

/// kubelet's default path of the termination message.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The specification of a container.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    name: String,
    image: String,
    command: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    mounts: Vec<api::Mount>,
    resources: api::LinuxContainerResources,
    security: api::LinuxContainerSecurityContext,
    termination_message: bool,
    id: Option<String>,
}

impl ContainerSpec {
    /// A container that runs its image's command.
    pub fn new(name: &str, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            command: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            mounts: Vec::new(),
            resources: api::LinuxContainerResources::default(),
            security: api::LinuxContainerSecurityContext::default(),
            termination_message: false,
            id: None,
        }
    }

    /// Names the image as the kubelet does: by containerd's id, together with the pod's
    /// reference.
    #[must_use]
    pub fn by_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Replaces the image's entrypoint.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Sets the arguments after the entrypoint.
    #[must_use]
    pub fn args(mut self, words: &[&str]) -> Self {
        self.args = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Mounts a folder or file of this machine, writable.
    #[must_use]
    pub fn mount(self, host: &Path, container: &str) -> Self {
        self.mounted(host, container, false)
    }

    /// Mounts a folder or file of this machine, read-only.
    #[must_use]
    pub fn mount_read_only(self, host: &Path, container: &str) -> Self {
        self.mounted(host, container, true)
    }

    /// Limits its memory, in bytes, including swap.
    #[must_use]
    pub fn memory_limit(mut self, bytes: i64) -> Self {
        self.resources.memory_limit_in_bytes = bytes;
        self.resources.memory_swap_limit_in_bytes = bytes;
        self
    }

    /// Limits its processor time, in thousandths of a core.
    #[must_use]
    pub fn cpu_limit(mut self, millis: i64) -> Self {
        const PERIOD: i64 = 100_000;
        self.resources.cpu_period = PERIOD;
        self.resources.cpu_quota = millis * PERIOD / 1000;
        self
    }

    /// Drops all capabilities, as `capabilities: { drop: [ALL] }` of a pod does.
    #[must_use]
    pub fn without_capabilities(mut self) -> Self {
        let capabilities = self.security.capabilities.get_or_insert_default();
        capabilities.drop_capabilities = vec!["ALL".to_owned()];
        self
    }

    /// Runs it as that user and group, as `runAsUser` and `runAsGroup` of a pod do.
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        let id = api::Int64Value { value: id.into() };
        self.security.run_as_user = Some(id);
        self.security.run_as_group = Some(id);
        self
    }

    /// Lets nobody write its root file system, as `readOnlyRootFilesystem` of a pod does.
    #[must_use]
    pub fn read_only_root(mut self) -> Self {
        self.security.readonly_rootfs = true;
        self
    }

    /// Gives it a file for its termination message, as kubelet does.
    #[must_use]
    pub fn termination_message(mut self) -> Self {
        self.termination_message = true;
        self
    }

    /// Its name in its pod.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has a file for its termination message.
    pub(crate) fn has_termination_message(&self) -> bool {
        self.termination_message
    }

    fn mounted(mut self, host: &Path, container: &str, readonly: bool) -> Self {
        self.mounts.push(api::Mount {
            container_path: container.to_owned(),
            host_path: host.display().to_string(),
            readonly,
            ..Default::default()
        });
        self
    }

    /// Its CRI configuration; `termination` is this machine's file for its termination
    /// message.
    pub(crate) fn config(&self, termination: &Path) -> api::ContainerConfig {
        let spec = if self.termination_message {
            self.clone().mounted(termination, TERMINATION_LOG, false)
        } else {
            self.clone()
        };
        let envs = spec
            .env
            .into_iter()
            .map(|(key, value)| api::KeyValue { key, value })
            .collect();
        let image = match spec.id {
            None => api::ImageSpec {
                image: spec.image,
                ..Default::default()
            },
            Some(id) => api::ImageSpec {
                image: id,
                user_specified_image: spec.image,
                ..Default::default()
            },
        };
        let metadata = api::ContainerMetadata {
            name: spec.name.clone(),
            attempt: 0,
        };
        let linux = api::LinuxContainerConfig {
            resources: Some(spec.resources),
            security_context: Some(spec.security),
        };
        let mut annotations = HashMap::new();
        if spec.termination_message {
            let key = "io.kubernetes.container.terminationMessagePath".to_owned();
            annotations.insert(key, TERMINATION_LOG.to_owned());
        }
        api::ContainerConfig {
            metadata: Some(metadata),
            image: Some(image),
            command: spec.command,
            args: spec.args,
            envs,
            mounts: spec.mounts,
            labels: HashMap::from([("io.kubernetes.container.name".into(), spec.name.clone())]),
            annotations,
            log_path: format!("{}.log", spec.name),
            linux: Some(linux),
            ..Default::default()
        }
    }
}
