//! containerd's process and its files.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::config::{self, Places, Runtime};
use crate::containerd::StartError;
use crate::guard::Run;
use crate::network;
use crate::tools::Version;

/// The search path of containerd. It is fixed, so that no shim or plugin of the user who
/// runs the tests is picked up by chance.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the log of a run's containerd is.
pub(crate) fn log_path(run: &Run) -> PathBuf {
    run.folder().join("containerd.log")
}

/// The daemon's process; ended, at the latest, when dropped.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts it; its log goes to [`log_path`].
    pub(crate) fn spawn(run: &Run, folders: &Folders, programs: &Path) -> Result<Self, StartError> {
        let program = programs.join("containerd");
        let log_path = log_path(run);
        let log = File::create(&log_path).map_err(|source| StartError::Write {
            path: log_path,
            source,
        })?;
        let path = format!(
            "{}:{}:{SYSTEM_PATH}",
            folders.bin.display(),
            programs.display(),
        );
        let spawn = |log: File| {
            Command::new(&program)
                .arg("--config")
                .arg(&folders.config)
                .env_clear()
                .env("PATH", path)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                // An interrupt from the keyboard ends the run, which ends it.
                .process_group(0)
                .spawn()
        };
        spawn(log).map(Self).map_err(|source| StartError::Spawn {
            program: program.clone(),
            source,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end, and returns whether it came in time.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> bool {
        const AGAIN: Duration = Duration::from_millis(10);
        let end = Instant::now() + limit;
        loop {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(AGAIN);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The layout of a run's folder.
pub(crate) struct Folders {
    bin: PathBuf,
    cni: PathBuf,
    registries: PathBuf,
    config: PathBuf,
}

impl Folders {
    /// The paths; nothing is created yet.
    pub(crate) fn below(folder: &Path) -> Self {
        Self {
            bin: folder.join("bin"),
            cni: folder.join("cni"),
            registries: folder.join("registries"),
            config: folder.join("containerd.toml"),
        }
    }

    /// Creates them, with the configuration of that version and a link for each shim.
    pub(crate) fn fill(
        &self,
        run: &Run,
        version: Version,
        runtimes: &[Runtime],
    ) -> Result<(), StartError> {
        for folder in [
            &self.bin,
            &self.cni,
            &self.registries,
            &run.state().to_owned(),
        ] {
            fs::create_dir_all(folder).map_err(|source| StartError::Write {
                path: folder.clone(),
                source,
            })?;
        }
        for runtime in runtimes {
            self.link(runtime)?;
        }
        let addresses = run.folder().join("addresses").display().to_string();
        let cni = network::cni_list(run.bridge(), &run.subnet(), &addresses);
        write(&self.cni.join("10-tests.conflist"), &cni)?;
        let places = Places {
            root: run.folder(),
            state: run.state(),
            cni: &self.cni,
            registries: &self.registries,
        };
        let config = config::containerd(version, &places, runtimes);
        write(&self.config, &config)
    }

    fn link(&self, runtime: &Runtime) -> Result<(), StartError> {
        let Some(program) = &runtime.program else {
            return Ok(());
        };
        if !program.exists() {
            return Err(StartError::NoShim {
                path: program.clone(),
            });
        }
        // A shim starts itself again by its path, so resolving the link would lose its
        // name.
        let name = self.bin.join(runtime.program_name());
        let placed = fs::hard_link(program, &name);
        placed
            .or_else(|_| fs::copy(program, &name).map(drop))
            .map_err(|source| StartError::Write { path: name, source })
    }
}

fn write(path: &Path, text: &str) -> Result<(), StartError> {
    fs::write(path, text).map_err(|source| StartError::Write {
        path: path.to_owned(),
        source,
    })
}
