//! A container as libcontainer makes it, each step in a process of its own.
//!
//! libcontainer forks without executing, changes its folder and its limits, and
//! a hook it runs may hang: none of that may happen in the shim, which has threads
//! and must go on. The processes are forked from one that was set aside at start
//! and end with the step, so a running container has no helper beside it.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use containerd_shimkit::zygote::{WireFd, Zygote};
use libcontainer::container::Container as Libcontainer;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::LinuxDeviceCgroup;
use rustix::fs::{FlockOperation, MemfdFlags, flock, memfd_create};
use serde::{Deserialize, Serialize};

use super::cgroup::Hierarchy;
use super::executor;
use super::handover::{Handover, open_read_only};
use super::limits::{self, Limits};
use super::spec::{Cgroups, Propagation};
use super::{cgroup, devices, inside, privileges};

/// How long a step may take before its process is killed. Namespaces, mounts and
/// cgroups take milliseconds; this leaves room for hooks on a busy node.
const STEP_SECONDS: u32 = 60;

/// Where libcontainer keeps a container's state: in its bundle, so that whatever
/// is left when everything went wrong goes away with the bundle.
const STATE: &str = "skiff";

/// What libcontainer says when the news of the first process being ready came before
/// those of its existence: two processes tell them, and nothing puts them in order.
const OVERTAKEN: &str = "received unexpected message: InitReady";

/// How often a container is set up before that is an error.
const TRIES: usize = 5;

/// What is read of libcontainer's log when it fails.
const MAX_CAUSE: usize = 4 << 10;

/// What libcontainer says each time the first process of a container fails.
const NOISE: &str = "exec process failed with error error in executing process : ";

/// The file of the plan, in the bundle.
pub(super) const PLAN: &str = "skiff-plan.json";

/// What a container becomes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Workload {
    /// The program that its arguments name.
    Linux {
        /// Why the image is no Wasm application, where that was looked into.
        not_wasm: Option<String>,
    },
    /// The serving process; the plan lies in the bundle.
    Wasm {
        /// The node's folder of compiled code.
        cache: PathBuf,
        /// The node's folder of the unpacked application.
        app: Option<PathBuf>,
        /// The container's root file system, which has the application's files where it
        /// is not unpacked. Nothing that is mounted over it is seen.
        root: PathBuf,
    },
}

/// What is needed to make a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Make {
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) stdin: PathBuf,
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
    pub(super) systemd_cgroup: bool,
    pub(super) propagation: Vec<Propagation>,
    pub(super) cgroups: Option<Cgroups>,
    pub(super) devices: Vec<LinuxDeviceCgroup>,
    pub(super) cwd: PathBuf,
    pub(super) workload: Workload,
}

/// A container that libcontainer knows.
#[derive(Debug)]
pub(super) struct Container {
    folder: PathBuf,
}

impl Container {
    /// Makes the container's first process, which waits inside until it is
    /// started. `status` is closed when that process has become what it is to be,
    /// or is told why not. Returns the process's number on the node.
    ///
    /// # Errors
    /// What libcontainer says, with every cause.
    pub(super) fn make(make: Make, status: OwnedFd) -> anyhow::Result<(Self, i32)> {
        let container = Container {
            folder: folder(&make.bundle, &make.id),
        };
        for _ in 1..TRIES {
            let status = status.try_clone().context("cannot share a pipe")?;
            match step(in_zygote_make, (make.clone(), WireFd::new(status))) {
                Err(error) if error.to_string().contains(OVERTAKEN) => {
                    log::info!("setting up container {} again: {error:#}", make.id);
                    container.delete()?;
                }
                made => return made.map(|pid| (container, pid)),
            }
        }
        let pid = step(in_zygote_make, (make, WireFd::new(status)))?;
        Ok((container, pid))
    }

    /// Lets the first process become what it is to be.
    ///
    /// # Errors
    /// What libcontainer says, with every cause.
    pub(super) fn start(&self) -> anyhow::Result<()> {
        step(in_zygote_start, self.folder.clone())
    }

    /// Sets new limits of the container whose first process that is.
    ///
    /// # Errors
    /// Where one cannot be set; all are as they were then.
    pub(super) fn update(&self, pid: i32, limits: &Limits) -> anyhow::Result<()> {
        step(in_zygote_update, (self.folder.clone(), pid, limits.clone()))
    }

    /// Kills everything in the container's cgroup.
    ///
    /// # Errors
    /// What libcontainer says, with every cause.
    pub(super) fn kill_all(&self) -> anyhow::Result<()> {
        step(in_zygote_kill_all, self.folder.clone())
    }

    /// Removes what is left: cgroup, state. A container that is gone is fine.
    ///
    /// # Errors
    /// What libcontainer says, with every cause.
    pub(super) fn delete(&self) -> anyhow::Result<()> {
        step(in_zygote_delete, self.folder.clone())
    }
}

fn folder(bundle: &Path, id: &str) -> PathBuf {
    bundle.join(STATE).join(id)
}

/// Removes a container of a shim that is no more. For a process of one thread.
///
/// # Errors
/// What libcontainer says, with every cause.
pub(super) fn clean_up(bundle: &Path, id: &str) -> anyhow::Result<()> {
    delete(&folder(bundle, id)).map_err(|error| anyhow!(error))
}

/// Runs a step in a new process. What it answers crosses as text.
fn step<Args, Answer>(
    step: fn(Args) -> Result<Answer, String>,
    args: Args,
) -> anyhow::Result<Answer>
where
    Args: Serialize + for<'a> Deserialize<'a> + 'static,
    Answer: Serialize + for<'a> Deserialize<'a> + 'static,
{
    let zygote = Zygote::global().spawn();
    let answer = zygote.try_run(step, args);
    answer
        .map_err(|error| anyhow!("the process that sets up the container ended: {error}"))?
        .map_err(|error| anyhow!(error))
}

fn in_zygote_make((make, status): (Make, WireFd<OwnedFd>)) -> Result<i32, String> {
    limit_time();
    with_causes(|| {
        privileges::inherit_none(&make.id)?;
        let pid = build(&make, status.into_inner())?;
        if let Err(error) = finish(&make, pid) {
            // What was made has to go, and what went wrong first is what counts.
            delete(&folder(&make.bundle, &make.id)).ok();
            return Err(error);
        }
        Ok(pid)
    })
    .map_err(|error| name_folder(error, &make.cwd))
}

/// libcontainer does not say which folder it cannot go to.
fn name_folder(error: String, folder: &Path) -> String {
    match error.contains("failed to chdir") {
        true => format!(
            "cannot go to the working directory `{}`: {error}",
            folder.display()
        ),
        false => error,
    }
}

/// Does what libcontainer leaves undone, while the first process waits.
fn finish(make: &Make, pid: i32) -> anyhow::Result<()> {
    if let Some(group) = cgroup::unified_of(pid) {
        devices::guard(&group, &make.devices)?;
    } else {
        let groups = cgroup::hierarchies_of(pid).context("cannot find the control groups")?;
        let of_devices = |group: &&Hierarchy| group.controllers.iter().any(|it| it == "devices");
        if let Some(group) = groups.iter().find(of_devices) {
            devices::take_console(&group.path, &make.devices)?;
        }
    }
    inside::finish(pid, &make.propagation, make.cgroups.as_ref())?;
    Ok(())
}

fn in_zygote_start(folder: PathBuf) -> Result<(), String> {
    limit_time();
    let mut container = load(folder)?;
    container.start().map_err(|error| chain(&error))
}

fn in_zygote_update((folder, pid, limits): (PathBuf, i32, Limits)) -> Result<(), String> {
    limit_time();
    let systemd = load(folder)?.systemd();
    limits::set(pid, systemd, &limits).map_err(|error| chain(&error))
}

fn in_zygote_kill_all(folder: PathBuf) -> Result<(), String> {
    limit_time();
    let signal =
        libcontainer::signal::Signal::try_from(libc::SIGKILL).map_err(|error| error.to_string())?;
    let mut container = load(folder)?;
    container.kill(signal, true).map_err(|error| chain(&error))
}

fn in_zygote_delete(folder: PathBuf) -> Result<(), String> {
    limit_time();
    delete(&folder)
}

fn load(folder: PathBuf) -> Result<Libcontainer, String> {
    Libcontainer::load(folder).map_err(|error| chain(&error))
}

/// libcontainer's processes send each other errors without their causes, and log
/// the causes. The first thing logged is what went wrong first.
fn with_causes(step: impl FnOnce() -> anyhow::Result<i32>) -> Result<i32, String> {
    let log = memfd_create(c"setup", MemfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let log = Arc::new(File::from(log));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_writer(Arc::clone(&log))
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time()
        .finish();
    let result = tracing::subscriber::with_default(subscriber, step);
    result.map_err(|error| {
        let mut logged = vec![0; MAX_CAUSE];
        let read = log.read_at(&mut logged, 0).unwrap_or_default();
        tidy(
            &format!("{error:#}"),
            &String::from_utf8_lossy(&logged[..read]),
        )
    })
}

/// Joins an error and what was logged on the way to it.
fn tidy(error: &str, logged: &str) -> String {
    let error = error.replace(NOISE, "");
    match logged.lines().next().map(str::trim) {
        Some(cause) if !cause.is_empty() && !error.contains(cause) => format!("{error} ({cause})"),
        _ => error,
    }
}

/// A step that hangs is killed, which ends the wait for its answer.
fn limit_time() {
    // SAFETY: no handler is involved; the default action ends the process.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(STEP_SECONDS);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // libcontainer repeats a cause in the text of what it caused.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

fn build(make: &Make, status: OwnedFd) -> anyhow::Result<i32> {
    let state = make.bundle.join(STATE);
    let mut builder = ContainerBuilder::new(make.id.clone(), SyscallType::Linux)
        .validate_id()
        .map_err(|error| anyhow!(chain(&error)))?
        .with_root_path(&state)
        .map_err(|error| anyhow!(chain(&error)))?;
    builder = match &make.workload {
        Workload::Linux { not_wasm } => builder.with_executor(executor::Linux {
            status: Arc::new(File::from(status)),
            not_wasm: not_wasm.clone(),
        }),
        Workload::Wasm { cache, app, root } => {
            let handover = Arc::new(hand_over(make, status, cache, app.as_deref(), root)?);
            builder.with_executor(executor::Wasm { handover })
        }
    };
    if let Some(file) = open_stdio(&make.stdin)? {
        // Who can write to it as well would never see its end.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let file =
            File::open(path).with_context(|| format!("cannot open `{}`", make.stdin.display()))?;
        builder = builder.with_stdin(file);
    }
    if let Some(file) = open_stdio(&make.stdout)? {
        builder = builder.with_stdout(file);
    }
    if let Some(file) = open_stdio(&make.stderr)? {
        builder = builder.with_stderr(file);
    }
    let init = builder
        .as_init(&make.bundle)
        .as_sibling(true)
        .with_systemd(make.systemd_cgroup);
    let container = init.build().map_err(|error| anyhow!(chain(&error)))?;
    let pid = container.pid().context("the container has no process")?;
    Ok(pid.as_raw())
}

fn hand_over(
    make: &Make,
    status: OwnedFd,
    cache: &Path,
    app: Option<&Path>,
    root: &Path,
) -> anyhow::Result<Handover> {
    let open = |path: &Path| {
        open_read_only(path).with_context(|| format!("cannot open `{}`", path.display()))
    };
    Ok(Handover {
        program: open(Path::new("/proc/self/exe"))?,
        status,
        plan: open(&make.bundle.join(PLAN))?,
        cache: open(cache)?,
        app: match app {
            Some(app) => open_app(app)?,
            None => open(root)?,
        },
    })
}

/// Opens the application's folder, and holds it for as long as the container has it open:
/// nobody removes it meanwhile.
fn open_app(path: &Path) -> anyhow::Result<OwnedFd> {
    let named = || format!("cannot open `{}`", path.display());
    let app = open_read_only(path).with_context(named)?;
    flock(&app, FlockOperation::LockShared).with_context(named)?;
    Ok(app)
}

/// Opens a FIFO for both directions, which neither waits for the other end nor
/// loses it when containerd restarts. None where containerd gave none, or gave a
/// URI, which only its own runtime knows.
pub(super) fn open_stdio(path: &Path) -> anyhow::Result<Option<File>> {
    if !path.is_absolute() {
        return Ok(None);
    }
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened
        .map(Some)
        .with_context(|| format!("cannot open `{}`", path.display()))
}

fn delete(folder: &Path) -> Result<(), String> {
    if !folder.exists() {
        return Ok(());
    }
    let mut container = load(folder.to_owned())?;
    container.delete(true).map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_is_repeated_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: inner")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner(#[source] std::io::Error);
        let error = Outer(Inner(std::io::Error::other("cause")));
        assert_eq!(chain(&error), "outer: inner: cause");
    }

    #[test]
    fn a_cause_that_was_only_logged_is_told() {
        let told = with_causes(|| {
            tracing::error!(path = "/x", "cannot mount");
            tracing::error!("cannot prepare");
            anyhow::bail!("failed to create container: {NOISE}cannot prepare")
        });
        let expected = "failed to create container: cannot prepare (cannot mount path=\"/x\")";
        assert_eq!(told.unwrap_err(), expected);
        assert_eq!(tidy("plain", ""), "plain");
    }

    #[test]
    fn a_working_directory_that_cannot_be_gone_to_is_named() {
        let named = name_folder("(failed to chdir e=ENOENT)".to_owned(), Path::new("/gone"));
        assert!(named.contains("`/gone`"), "{named}");
        assert_eq!(name_folder("other".to_owned(), Path::new("/gone")), "other");
    }

    #[test]
    fn standard_streams_may_be_absent() {
        assert!(open_stdio(Path::new("")).unwrap().is_none());
        assert!(
            open_stdio(Path::new("binary:///bin/log"))
                .unwrap()
                .is_none()
        );
        let error = open_stdio(Path::new("/does/not/exist")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open `/does/not/exist`");
    }

    #[test]
    fn deleting_what_is_gone_is_fine() {
        delete(Path::new("/does/not/exist")).unwrap();
    }
}
