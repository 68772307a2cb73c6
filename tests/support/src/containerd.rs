//! Starts a private containerd and stops it without a trace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::config::{PAUSE_IMAGE, Runtime};
use crate::cri::{Cri, CriError};
use crate::ctr::CtrError;
use crate::daemon::{Daemon, Folders, log_path};
use crate::guard::Run;
use crate::leftovers::{self, Leftover};
use crate::oci::{Image, ImageError};
use crate::tools::{self, ToolError};
use crate::{paths, processes};

pub use crate::config::Runtime as RuntimeHandler;
pub use crate::tools::Version;

/// How long containerd may take until it answers. It takes half a second;
/// a busy machine may take much more.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long it may take to end after SIGTERM.
const ENDED_WITHIN: Duration = Duration::from_secs(20);

/// What can go wrong until containerd is ready.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or folder of the run cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The program cannot be started.
    #[error("cannot start `{}`", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The program of a runtime is missing.
    #[error("`{}` does not exist; run `cargo build -p containerd-shim-skiff` first", path.display())]
    NoShim {
        /// Where it should be.
        path: PathBuf,
    },
    /// containerd ended, or is not ready in time.
    #[error("containerd is not ready; its log is:\n{log}")]
    NotReady {
        /// The end of its log.
        log: String,
        /// The last error of its runtime service, if it answered at all.
        source: Option<CriError>,
    },
    /// The pause image cannot be made.
    #[error("cannot make the pause image")]
    PauseImage(#[from] ImageError),
    /// The pause image cannot be imported.
    #[error("cannot import the pause image")]
    Import(#[from] CtrError),
}

/// What to start. Made before a run is isolated, because building missing tools may need
/// the network.
#[derive(Debug, Clone)]
pub struct Settings {
    version: Version,
    programs: PathBuf,
    pause: PathBuf,
    runtimes: Vec<Runtime>,
}

impl Settings {
    /// A containerd of that version with the handler `runc`, built if it is missing.
    ///
    /// # Errors
    ///
    /// When a tool cannot be built.
    pub fn new(version: Version) -> Result<Self, ToolError> {
        let runc = Runtime {
            handler: "runc".into(),
            kind: "io.containerd.runc.v2".into(),
            program: None,
        };
        let programs = tools::containerd(version)?;
        Ok(Self {
            version,
            programs,
            pause: tools::pause()?,
            runtimes: vec![runc],
        })
    }

    /// Adds the handler `skiff`, with the shim of this build.
    #[must_use]
    pub fn with_skiff(self) -> Self {
        self.with_runtime(Runtime {
            handler: "skiff".into(),
            kind: "io.containerd.skiff.v1".into(),
            program: Some(paths::skiff()),
        })
    }

    /// Adds a handler, for example a shim to compare with.
    #[must_use]
    pub fn with_runtime(mut self, runtime: Runtime) -> Self {
        self.runtimes.push(runtime);
        self
    }
}

/// A running containerd. Stop it with [`Containerd::shut_down`], which reports leftovers;
/// dropping it ends everything silently.
#[derive(Debug)]
pub struct Containerd {
    // In this order: the daemon is ended before its folders are removed.
    daemon: Daemon,
    cri: Cri,
    programs: PathBuf,
    version: Version,
    run: Run,
}

impl Containerd {
    /// Starts it and waits until it is ready to run pods.
    ///
    /// # Errors
    ///
    /// When a shim is missing, containerd does not start, or the pause image
    /// cannot be imported.
    pub async fn start(run: Run, settings: &Settings) -> Result<Self, StartError> {
        let folders = Folders::below(run.folder());
        folders.fill(&run, settings.version, &settings.runtimes)?;
        let daemon = Daemon::spawn(&run, &folders, &settings.programs)?;
        run.cgroups()
            .adopt("daemon", daemon.pid())
            .map_err(|source| StartError::Write {
                path: "cgroup.procs".into(),
                source,
            })?;
        let cri = Cri::connect(
            &run.state().join("containerd.sock"),
            run.folder(),
            run.name(),
        );
        let programs = settings.programs.clone();
        let mut started = Self {
            daemon,
            cri,
            programs,
            version: settings.version,
            run,
        };
        started.wait_ready().await?;
        started.import_pause(&settings.pause).await?;
        Ok(started)
    }

    /// Its CRI services, as kubelet uses them.
    pub fn cri(&self) -> &Cri {
        &self.cri
    }

    /// Its release.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The run it belongs to.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The program `ctr` of the same release.
    pub(crate) fn ctr_program(&self) -> PathBuf {
        self.programs.join("ctr")
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.run.state().join("containerd.sock")
    }

    /// Where its content store keeps a blob, for tests that damage one.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let store = self
            .run
            .folder()
            .join("data/io.containerd.content.v1.content");
        store.join(crate::oci::blob_name(digest))
    }

    /// All of its log so far, including its shims' messages.
    pub fn log(&self) -> String {
        read_log(&self.run)
    }

    /// Leftovers of pods and tasks as if all were removed, after waiting up to `limit`.
    /// Those of running ones are included.
    pub fn leftovers(&self, limit: Duration) -> Vec<Leftover> {
        leftovers::of_pods(&self.run, self.daemon.pid(), limit)
    }

    /// Removes every pod and task, stops containerd, and returns the leftovers, which are
    /// also removed.
    pub async fn shut_down(mut self) -> Vec<Leftover> {
        let mut left = Vec::new();
        if let Err(error) = self.cri.remove_all_pods().await {
            left.push(Leftover::Unremoved(error.to_string()));
        }
        if let Err(error) = self.remove_all_tasks().await {
            left.push(Leftover::Unremoved(error.to_string()));
        }
        left.extend(self.leftovers(leftovers::GONE_WITHIN));
        processes::signal(self.daemon.pid(), Signal::TERM);
        if !self.daemon.ended_within(ENDED_WITHIN) {
            left.push(Leftover::Unremoved(
                "containerd does not end after SIGTERM".into(),
            ));
        }
        left.extend(leftovers::of_containerd(&self.run));
        left
    }

    async fn wait_ready(&mut self) -> Result<(), StartError> {
        const AGAIN: Duration = Duration::from_millis(20);
        let end = Instant::now() + READY_WITHIN;
        loop {
            let source = match self.cri.ready().await {
                Ok(true) => return Ok(()),
                Ok(false) => None,
                Err(error) => Some(error),
            };
            if self.daemon.ended_within(Duration::ZERO) || Instant::now() > end {
                return Err(StartError::NotReady {
                    log: last_lines(&self.log()),
                    source,
                });
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn import_pause(&self, program: &Path) -> Result<(), StartError> {
        let image = Image::linux()
            .copy(program, "pause", 0o755)?
            .entrypoint(&["/pause"]);
        let layout = image.write(self.run.folder().join("pause-image"))?;
        self.import(&layout, PAUSE_IMAGE).await?;
        Ok(())
    }
}

fn read_log(run: &Run) -> String {
    let bytes = fs::read(log_path(run)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The part of a log that shows a failure and its cause.
pub fn last_lines(log: &str) -> String {
    const KEPT: usize = 40;
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(KEPT)..].join("\n")
}
