//! containerd's client `ctr`: importing images, and tasks outside pods.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::containerd::Containerd;
use crate::cri::CriError;
use crate::oci::{ImageError, Layout};
use crate::pod::Container;

/// The containerd namespace of the CRI.
const KUBERNETES: &str = "k8s.io";

/// How long a task may take to end after SIGTERM.
const TASK_ENDED_WITHIN: Duration = Duration::from_secs(60);

/// What can go wrong with a call of `ctr`.
#[derive(Debug, thiserror::Error)]
pub enum CtrError {
    /// The program cannot be run.
    #[error("cannot run ctr")]
    Run(#[source] io::Error),
    /// It ran and failed.
    #[error("`ctr {args}` failed: {stderr}")]
    Failed {
        /// Its arguments.
        args: String,
        /// Its standard error.
        stderr: String,
    },
    /// The image cannot be archived.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The archive cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The CRI does not see the imported image.
    #[error(transparent)]
    Unseen(#[from] CriError),
    /// A task does not end.
    #[error("task {id} did not end within {} s", TASK_ENDED_WITHIN.as_secs())]
    TooLate {
        /// Its id.
        id: String,
    },
}

/// The result of a program.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A task of `ctr run`: one container without a pod, on the network of the run.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    id: String,
    image: String,
    runtime: String,
    options: Vec<String>,
    args: Vec<String>,
    stdin: Option<Vec<u8>>,
}

impl TaskSpec {
    /// A task of an image under a runtime type, for example
    /// `io.containerd.skiff.v1`.
    pub fn new(id: &str, image: &str, runtime: &str) -> Self {
        Self {
            id: id.to_owned(),
            image: image.to_owned(),
            runtime: runtime.to_owned(),
            options: Vec::new(),
            args: Vec::new(),
            stdin: None,
        }
    }

    /// Gives it standard input, followed by end of file. Without this its input stays
    /// open and empty.
    #[must_use]
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(self, name: &str, value: &str) -> Self {
        self.option(&["--env", &format!("{name}={value}")])
    }

    /// Mounts a folder of this machine, with `ro` or `rw`.
    #[must_use]
    pub fn mount(self, host: &Path, container: &str, access: &str) -> Self {
        let host = host.display();
        let mount = format!("type=bind,src={host},dst={container},options=rbind:{access}");
        self.option(&["--mount", &mount])
    }

    /// Limits its memory, in bytes.
    #[must_use]
    pub fn memory_limit(self, bytes: u64) -> Self {
        self.option(&["--memory-limit", &bytes.to_string()])
    }

    /// Adds further options of `ctr run`.
    #[must_use]
    pub fn option(mut self, words: &[&str]) -> Self {
        self.options
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Replaces the image's command.
    #[must_use]
    pub fn args(mut self, words: &[&str]) -> Self {
        self.args = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }
}

/// A task that runs in the background.
#[derive(Debug)]
pub struct Task {
    id: String,
    client: Child,
}

impl Containerd {
    /// Runs `ctr` in the namespace of this run's tasks and returns its output.
    ///
    /// # Errors
    ///
    /// When it cannot be run, or fails; the error contains its output.
    pub async fn ctr<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, CtrError> {
        self.ctr_in(self.run().name(), args).await
    }

    /// The same in the namespace of pods.
    ///
    /// # Errors
    ///
    /// When it cannot be run, or fails; the error contains its output.
    pub async fn ctr_of_pods<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, CtrError> {
        self.ctr_in(KUBERNETES, args).await
    }

    /// Imports an image under that name for pods and for tasks, and waits
    /// until pods can use it. A name may be imported again.
    ///
    /// # Errors
    ///
    /// When containerd refuses it, for example for a blob with a wrong digest.
    pub async fn import(&self, layout: &Layout, name: &str) -> Result<(), CtrError> {
        let archive = self
            .run()
            .folder()
            .join(format!("{}.tar", name.replace(['/', ':'], "_")));
        let file = File::create(&archive).map_err(|source| CtrError::Write {
            path: archive.clone(),
            source,
        })?;
        layout.archive(name, file)?;
        self.import_archive(&archive).await?;
        self.cri().wait_for_image(name).await?;
        std::fs::remove_file(&archive).map_err(|source| CtrError::Write {
            path: archive,
            source,
        })
    }

    /// Imports an archive unchanged, for pods and for tasks.
    ///
    /// # Errors
    ///
    /// When containerd refuses it.
    pub async fn import_archive(&self, archive: &Path) -> Result<(), CtrError> {
        let path = archive.display().to_string();
        // containerd does not import the platform of Wasm images by default, and its
        // transfer service would not unpack them for pods either.
        let args = ["images", "import", "--local", "--all-platforms", &path];
        for namespace in [KUBERNETES, self.run().name()] {
            self.ctr_in(namespace, &args).await?;
        }
        Ok(())
    }

    /// Runs a task to its end. A failing task is not an error.
    ///
    /// # Errors
    ///
    /// When `ctr` cannot be run.
    pub async fn run_task(&self, spec: &TaskSpec) -> Result<Finished, CtrError> {
        self.spawn_task(spec)?.finished().await
    }

    /// Starts a task in the background. If it cannot start, `ctr` fails later;
    /// [`Task::finished`] then returns the reason.
    ///
    /// # Errors
    ///
    /// When `ctr` cannot be run.
    pub fn spawn_task(&self, spec: &TaskSpec) -> Result<Task, CtrError> {
        let mut command = self.command(self.run().name());
        command.args(["run", "--rm", "--net-host", "--runtime", &spec.runtime]);
        command
            .arg("--fifo-dir")
            .arg(self.run().state().join("fifo"));
        command
            .args(&spec.options)
            .arg(&spec.image)
            .arg(&spec.id)
            .args(&spec.args);
        let stdin = match spec.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        };
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut client = command.kill_on_drop(true).spawn().map_err(CtrError::Run)?;
        if let (Some(mut stdin), Some(bytes)) = (client.stdin.take(), spec.stdin.clone()) {
            // A task that ends before it has read everything is not a failure here.
            tokio::spawn(async move { stdin.write_all(&bytes).await });
        }
        Ok(Task {
            id: spec.id.clone(),
            client,
        })
    }

    /// Sends a signal, for example `SIGTERM`, to a task.
    ///
    /// # Errors
    ///
    /// When there is no such task, or the signal cannot be sent.
    pub async fn signal_task(&self, task: &Task, signal: &str) -> Result<(), CtrError> {
        self.ctr(&["tasks", "kill", "--signal", signal, &task.id])
            .await
            .map(drop)
    }

    /// The processes of a task, according to containerd.
    ///
    /// # Errors
    ///
    /// When there is no such task, or its shim does not answer.
    pub async fn task_processes(&self, task: &Task) -> Result<Vec<u32>, CtrError> {
        let table = self.ctr(&["tasks", "ps", &task.id]).await?;
        let numbers = table
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        Ok(numbers.filter_map(|number| number.parse().ok()).collect())
    }

    /// The first process of a pod's container, according to containerd; none if it has
    /// ended or is unknown.
    ///
    /// # Errors
    ///
    /// When containerd does not answer.
    pub async fn process_of(&self, container: &Container) -> Result<Option<u32>, CtrError> {
        let table = self.ctr_in(KUBERNETES, &["tasks", "list"]).await?;
        Ok(table.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let is_its = words.next() == Some(container.id());
            words.next()?.parse().ok().filter(|_| is_its)
        }))
    }

    /// Ends and deletes all tasks and containers that tests left.
    pub(crate) async fn remove_all_tasks(&self) -> Result<(), CtrError> {
        let containers = self.ctr(&["containers", "list", "--quiet"]).await?;
        for id in containers.lines() {
            // A missing or ended task is not a failure here; a container that cannot be
            // removed is.
            self.ctr(&["tasks", "delete", "--force", id]).await.ok();
            self.ctr(&["containers", "delete", id]).await?;
        }
        Ok(())
    }

    async fn ctr_in<S: AsRef<OsStr>>(
        &self,
        namespace: &str,
        args: &[S],
    ) -> Result<String, CtrError> {
        let done = self
            .command(namespace)
            .args(args)
            .output()
            .await
            .map_err(CtrError::Run)?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        let args: Vec<_> = args
            .iter()
            .map(|arg| arg.as_ref().to_string_lossy())
            .collect();
        let stderr = without_warnings(&String::from_utf8_lossy(&done.stderr));
        Err(CtrError::Failed {
            args: args.join(" "),
            stderr,
        })
    }

    fn command(&self, namespace: &str) -> Command {
        let mut command = Command::new(self.ctr_program());
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", namespace]);
        command
    }
}

/// The error, without the warnings of every `ctr` call, for example that support for
/// cgroup version 1 will end.
fn without_warnings(stderr: &str) -> String {
    let lines = stderr
        .lines()
        .filter(|line| !line.contains("level=warning"));
    lines.collect::<Vec<_>>().join("\n")
}

impl Task {
    /// Its id at containerd, which is also its shim's.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns when it has ended in any way; [`Task::finished`] then returns how.
    pub async fn ended(&mut self) {
        // If there is nothing to wait for, it has ended.
        self.client.wait().await.ok();
    }

    /// Waits for its end. The exit status is the task's, as `ctr` passes it on.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub async fn finished(self) -> Result<Finished, CtrError> {
        let output = tokio::time::timeout(TASK_ENDED_WITHIN, self.client.wait_with_output())
            .await
            .map_err(|_| CtrError::TooLate { id: self.id })?
            .map_err(CtrError::Run)?;
        Ok(Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
