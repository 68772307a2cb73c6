//! One container's life, as containerd's calls drive it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use containerd_shimkit::sandbox::{Error, InstanceConfig};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::container::{Container, Make, Workload, open_stdio};
use super::decide::{Decided, decide};
use super::limits::Limits;
use super::reaper::{Ended, Exit, Reaper};
use super::report::{hold, report};
use super::spec::{self, Completed};
use super::{cgroup, memory, mounts, oom, working_folder};
use crate::app::{CompileRequest, Optimizer};
use crate::exit::told;

/// How long an application whose code is at hand may take until it listens.
/// Milliseconds are usual; kubelet gives up after two minutes.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How long a process that was killed may take to be gone. Longer means that it
/// hangs in the kernel, where nothing reaches it.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// What is read of a failed start's message.
const MAX_STATUS: u64 = 16 << 10;

/// A container, from its creation on.
pub(super) struct Instance {
    id: String,
    container: Container,
    pid: i32,
    process: OwnedFd,
    exit: Exit,
    /// The other end is with the container's process until it has started.
    status: Mutex<Option<OwnedFd>>,
    /// Held open for writing, so that its standard input ends only when it is told to.
    stdin: Mutex<Option<File>>,
    /// Where the specification wants its control group to be.
    group: PathBuf,
    is_wasm: bool,
    /// Whether other processes of the container outlive the first.
    shares_processes: bool,
    namespace: String,
    kills: Option<oom::Counter>,
    /// Done what comes between the end of the process and the news of it.
    settled: OnceCell<()>,
    owner: Owner,
    /// What works on for the application, until that ends.
    optimizer: Mutex<Option<Optimizer>>,
}

/// Where the owner of a container looks for what went wrong.
#[derive(Debug, Clone)]
struct Owner {
    stderr: PathBuf,
    termination_message: Option<PathBuf>,
}

impl Owner {
    /// Tells the owner, and makes it the error of the call.
    fn told(&self, error: &anyhow::Error) -> Error {
        let message = told(error);
        report(&message, &self.stderr, self.termination_message.as_deref());
        Error::Any(anyhow!(message))
    }
}

impl Instance {
    /// Makes the container, whose process then waits to be started. What goes wrong is
    /// told to its owner as well.
    ///
    /// # Errors
    /// Everything that can be wrong with the container and with its application.
    pub(super) async fn new(id: String, config: &InstanceConfig) -> Result<Self, Error> {
        let mut owner = Owner {
            stderr: config.stderr.clone(),
            termination_message: None,
        };
        let created = create(id, config, &mut owner).await;
        memory::give_back();
        created.map_err(|error| owner.told(&error))
    }

    /// Starts it, and waits until it serves where it is one of ours.
    ///
    /// # Errors
    /// What its process says went wrong; it is killed then.
    pub(super) async fn start(&self) -> Result<(), Error> {
        let stderr = hold(&self.owner.stderr);
        let started = self.begin().await;
        memory::give_back();
        match started {
            Ok(()) => Ok(()),
            Err(error) => {
                if let Err(error) = self.send(libc::SIGKILL) {
                    log::warn!("cannot kill container {}: {error}", self.id);
                }
                let told = self.owner.told(&error);
                drop(stderr);
                Err(told)
            }
        }
    }

    /// Sends a signal to its first process, or kills all of them. Never waits: a
    /// process that hangs must not make its pod impossible to stop.
    ///
    /// # Errors
    /// Where there is no such signal.
    pub(super) fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        let number = i32::try_from(signal)
            .map_err(|_| Error::InvalidArgument(format!("signal {signal}")))?;
        self.send(number)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => Error::InvalidArgument(format!("signal {signal}")),
                _ => Error::Stdio(error),
            })?;
        if all && number == libc::SIGKILL {
            self.sweep();
        }
        Ok(())
    }

    /// Ends and removes it.
    ///
    /// # Errors
    /// Where its process does not end, or something of it cannot be removed.
    pub(super) async fn delete(&self) -> Result<(), Error> {
        self.send(libc::SIGKILL)?;
        // Nothing else may look at its cgroup while that is removed.
        if timeout(KILL_DEADLINE, self.wait()).await.is_err() {
            let message = format!("process {} does not end when killed", self.pid);
            return Err(Error::FailedPrecondition(message));
        }
        let deleted = self.container.delete();
        memory::give_back();
        deleted.map_err(|error| Error::Any(anyhow!("{error:#}")))
    }

    /// Waits until its first process has ended.
    pub(super) async fn wait(&self) -> Ended {
        let ended = self.exit.wait().await;
        let settle = async || self.settle();
        self.settled.get_or_init(settle).await;
        ended
    }

    /// How its first process ended, if it did.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.exit.now()
    }

    /// The number of its first process.
    pub(super) fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// The numbers of its processes. None where it has ended.
    pub(super) fn processes(&self) -> Option<Vec<u32>> {
        if self.ended().is_some() {
            return None;
        }
        let listed = self.kills.as_ref().map(oom::Counter::processes);
        let mut processes = listed.unwrap_or_default();
        if !processes.contains(&self.pid()) {
            processes.push(self.pid());
        }
        Some(processes)
    }

    /// Ends the standard input of its processes, once they have read what is there.
    pub(super) fn close_stdin(&self) {
        self.stdin
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Sets new limits.
    ///
    /// # Errors
    /// Where one cannot be set; all are as they were then.
    pub(super) fn update(&self, mut limits: Limits) -> Result<(), Error> {
        limits.group.clone_from(&self.group);
        limits.id.clone_from(&self.id);
        let updated = self.container.update(self.pid, &limits);
        memory::give_back();
        updated.map_err(|error| Error::Any(anyhow!("{error:#}")))
    }

    async fn begin(&self) -> anyhow::Result<()> {
        let status = self
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let status = status.context("the container was started before")?;
        self.container.start()?;
        let told = match timeout(START_DEADLINE, read_status(status)).await {
            Ok(told) => told.context("cannot learn how the start went")?,
            Err(_) => bail!("did not start within {START_DEADLINE:?}"),
        };
        match (self.is_wasm, told.trim_end()) {
            (true, READY) | (false, "") => Ok(()),
            (true, "") => match timeout(KILL_DEADLINE, self.exit.wait()).await {
                Ok(ended) => Err(ended_early(ended.code)),
                Err(_) => bail!("the container's process does not say how its start went"),
            },
            (_, message) => bail!("{message}"),
        }
    }

    /// Sends a signal to the container's process. That it is gone is fine.
    fn send(&self, signal: i32) -> io::Result<()> {
        if self.exit.now().is_some() {
            return Ok(());
        }
        // rustix has no name for real-time signals, which containers may use.
        // SAFETY: the descriptor is open as long as `self`, and no information
        // is passed along.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.process.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match io::Error::last_os_error() {
            _ if result == 0 => Ok(()),
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        }
    }

    fn settle(&self) {
        let optimizer = self.optimizer.lock();
        drop(optimizer.unwrap_or_else(PoisonError::into_inner).take());
        // Whichever of its processes that was: it has done less than it was to do.
        if self.kills.as_ref().is_some_and(oom::Counter::has_counted) {
            oom::publish(&self.namespace, &self.id);
        }
        if self.shares_processes {
            self.sweep();
        }
    }

    /// A container without processes of its own (the pod's, or the node's) may
    /// leave some behind, which the kernel does not end with the first.
    fn sweep(&self) {
        if let Err(error) = self.container.kill_all() {
            log::warn!(
                "cannot end what container {} left behind: {error:#}",
                self.id
            );
        }
    }
}

/// What a serving process says when it listens.
pub(super) const READY: &str = "ready";

async fn create(
    id: String,
    config: &InstanceConfig,
    owner: &mut Owner,
) -> anyhow::Result<Instance> {
    let Completed {
        mut spec,
        propagation,
        cgroups,
    } = spec::load(&config.bundle, cgroup::is_unified())?;
    let termination_log = mounts::termination_log(&spec);
    owner.termination_message = termination_log.as_ref().map(|log| log.host.clone());
    let hold = Reaper::global().hold();
    let decided = decide(&id, config, &spec, termination_log.map(|log| log.inside)).await?;
    let Decided {
        workload,
        held,
        optimize,
    } = decided;
    let is_wasm = matches!(workload, Workload::Wasm { .. });
    if is_wasm {
        name_a_program(&mut spec);
    }
    spec::save(&spec, &config.bundle)?;
    if let Err(error) = working_folder::make(&spec) {
        // It is told by name when it is gone to.
        log::info!("container {id}: {error}");
    }
    let stdin = open_stdio(&config.stdin)?;
    let (status, status_writer) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let make = Make {
        id: id.clone(),
        bundle: config.bundle.clone(),
        stdin: config.stdin.clone(),
        stdout: config.stdout.clone(),
        stderr: config.stderr.clone(),
        systemd_cgroup: config.config.systemd_cgroup,
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
    let (container, pid) = Container::make(make, status_writer)?;
    // The container's process holds the application from here on.
    drop(held);
    let exit = hold.watch(pid);
    let process = Pid::from_raw(pid).context("the container has no process")?;
    // The hold does not keep the process from being reaped, but a number is not
    // given out again before thousands of others were.
    let process = match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(error) => {
            container.delete()?;
            return Err(error).context("the container's process ended at once");
        }
    };
    Ok(Instance {
        id,
        container,
        pid,
        process,
        exit,
        status: Mutex::new(Some(status)),
        stdin: Mutex::new(stdin),
        group: spec::group(&spec),
        is_wasm,
        shares_processes: !has_own_processes(&spec),
        namespace: config.namespace.clone(),
        kills: oom::Counter::of_process(pid),
        settled: OnceCell::new(),
        owner: owner.clone(),
        optimizer: Mutex::new(optimize.and_then(start_optimizer)),
    })
}

fn start_optimizer(request: CompileRequest) -> Option<Optimizer> {
    match Optimizer::start(&request) {
        Ok(optimizer) => Some(optimizer),
        Err(error) => {
            log::warn!("{error:#}; baseline code stays in use");
            None
        }
    }
}

/// Artifacts name no program, and `ctr run` adds none as the kubelet does;
/// libcontainer ends a container without a program before we are asked.
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

/// What the container's process says until it closes its end, or is ready: its
/// workers, which are processes, may keep the end open.
async fn read_status(status: OwnedFd) -> io::Result<String> {
    rustix::io::ioctl_fionbio(&status, true)?;
    let mut receiver = Receiver::from_owned_fd(status)?.take(MAX_STATUS);
    let mut told = Vec::new();
    while told != format!("{READY}\n").as_bytes() && receiver.read_buf(&mut told).await? > 0 {}
    Ok(String::from_utf8_lossy(&told).into_owned())
}

fn ended_early(code: u32) -> anyhow::Error {
    match code
        .checked_sub(128)
        .filter(|signal| (1..=64).contains(signal))
    {
        Some(signal) => {
            anyhow!("the serving process was killed by signal {signal} before it was ready")
        }
        None => anyhow!("the serving process ended with exit code {code} before it was ready"),
    }
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

    #[test]
    fn an_early_end_is_told_with_signal_or_code() {
        assert_eq!(
            ended_early(137).to_string(),
            "the serving process was killed by signal 9 before it was ready"
        );
        assert_eq!(
            ended_early(78).to_string(),
            "the serving process ended with exit code 78 before it was ready"
        );
    }

    #[tokio::test]
    async fn an_error_is_read_to_its_end_and_readiness_at_once() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, b"ready\n").unwrap();
        assert_eq!(read_status(reader).await.unwrap(), "ready\n");
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&writer, b"no").unwrap();
        let read = tokio::spawn(read_status(reader));
        rustix::io::write(&writer, b" way").unwrap();
        drop(writer);
        assert_eq!(read.await.unwrap().unwrap(), "no way");
    }
}
