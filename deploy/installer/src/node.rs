//! Everything of a node that is not a file: containerd's effective configuration, its
//! restart, and its CRI.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Handle;

use crate::cri::{self, CriError};
use crate::dump::DumpError;
use crate::host::{Host, HostError};
use crate::layouts::Service;
use crate::systemd::{self, SystemdError};

/// Why containerd was not restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// systemd failed to restart it.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// There is no process to signal.
    #[error(
        "systemd does not answer, and no process of containerd is visible; \
         the installer's pod needs the node's process ids (hostPID)"
    )]
    NoProcess,
    /// The processes cannot be listed.
    #[error("systemd does not answer, and containerd's process cannot be searched")]
    Processes(#[source] HostError),
    /// The signal was not taken.
    #[error("cannot terminate process {pid}")]
    Signal {
        /// Its id.
        pid: i32,
        /// The system's error.
        source: io::Error,
    },
}

/// A node's containerd: [`RealNode`], or the replacements of tests.
pub trait Node {
    /// containerd's effective configuration for a file, or for none; all paths are the
    /// node's.
    ///
    /// # Errors
    ///
    /// If containerd cannot be run or rejects it.
    fn dump(&self, host: &Host, program: &Path, config: Option<&Path>)
    -> Result<String, DumpError>;

    /// Makes containerd read its configuration again; systemd may take that long.
    ///
    /// # Errors
    ///
    /// If containerd could not be asked to, or it failed.
    fn restart(&self, host: &Host, service: Service, within: Duration) -> Result<(), RestartError>;

    /// The handlers that containerd's CRI offers.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    fn handlers(&self, host: &Host, socket: &Path) -> Result<Vec<String>, CriError>;
}

/// The real node of the root folder.
#[derive(Debug, Clone)]
pub struct RealNode {
    runtime: Handle,
}

impl RealNode {
    /// A node that uses this runtime, from threads that are not its workers.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime }
    }
}

impl Node for RealNode {
    fn dump(
        &self,
        host: &Host,
        program: &Path,
        config: Option<&Path>,
    ) -> Result<String, DumpError> {
        dump(host.command(program), program, config)
    }

    fn restart(&self, host: &Host, service: Service, within: Duration) -> Result<(), RestartError> {
        let units = match service {
            Service::Units(units) | Service::Watched(units) => units,
            Service::FirstProcess => return end(host, 1),
        };
        let restart = systemd::restart_first(host, units, within);
        match self.runtime.block_on(restart) {
            Err(error @ SystemdError::Unreachable { .. }) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "Terminating containerd");
                end_containerd(host)
            }
            restarted => Ok(restarted?),
        }
    }

    fn handlers(&self, host: &Host, socket: &Path) -> Result<Vec<String>, CriError> {
        let located = host.locate(socket).map_err(CriError::Socket)?;
        self.runtime.block_on(cri::handlers(&located))
    }
}

/// Makes containerd print its effective configuration.
///
/// # Errors
///
/// If it cannot be run or rejects it.
pub fn dump(
    mut command: Command,
    program: &Path,
    config: Option<&Path>,
) -> Result<String, DumpError> {
    match config {
        Some(config) => command.arg("--config").arg(config).args(["config", "dump"]),
        None => command.args(["config", "default"]),
    };
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| DumpError::Run {
            program: program.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(DumpError::Refused {
        message: last.unwrap_or("no reason given").to_owned(),
    })
}

/// Where systemd is not reachable, by bus or by `systemctl`, containerd's supervisor
/// starts it again when it ends. Its pods keep running meanwhile.
fn end_containerd(host: &Host) -> Result<(), RestartError> {
    let processes = Path::new("/proc");
    let names = host.names_in(processes).map_err(RestartError::Processes)?;
    // A process may end while others are examined.
    let is_containerd = |name: &&std::ffi::OsString| {
        let comm = processes.join(name).join("comm");
        let text = host.read_text(&comm).ok().flatten();
        text.is_some_and(|text| text.trim_end() == "containerd")
    };
    let found = names.iter().find(is_containerd);
    let pid = found.and_then(|name| name.to_str()?.parse().ok());
    end(host, pid.ok_or(RestartError::NoProcess)?)
}

/// Terminates a process of the node, if its id means the same process here: without the
/// node's process ids it would be another one, or this program.
fn end(host: &Host, pid: i32) -> Result<(), RestartError> {
    let name = PathBuf::from(format!("/proc/{pid}/stat"));
    let there = host.read_text(&name).ok().flatten().map(identity);
    let here = std::fs::read_to_string(&name).ok().map(identity);
    let process = Pid::from_raw(pid).filter(|_| there.is_some() && there == here);
    let process = process.ok_or(RestartError::NoProcess)?;
    if process == rustix::process::getpid() {
        return Err(RestartError::NoProcess);
    }
    kill_process(process, Signal::TERM).map_err(|source| RestartError::Signal {
        pid,
        source: source.into(),
    })
}

/// What identifies a process for its lifetime: its id, and its start time.
fn identity(stat: String) -> (String, String) {
    const STARTED: usize = 19;
    let (first, rest) = stat.rsplit_once(") ").unwrap_or((&stat, ""));
    let number = first.split(' ').next().unwrap_or_default();
    let started = rest.split(' ').nth(STARTED).unwrap_or_default();
    (number.to_owned(), started.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn processes_that_cannot_be_looked_through_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("proc", folder.path().join("proc")).expect("made");
        let error = end_containerd(&Host::new(folder.path())).expect_err("a loop");
        assert!(matches!(error, RestartError::Processes(_)), "{error}");
    }

    #[test]
    fn only_a_process_that_is_the_same_here_is_told_to_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Host::new(folder.path());
        let mut child = Command::new("sleep").arg("60").spawn().expect("started");
        let pid = i32::try_from(child.id()).expect("a number");
        let place = folder.path().join(format!("proc/{pid}"));
        fs::create_dir_all(&place).expect("made");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("alive");
        fs::write(place.join("comm"), "containerd\n").expect("written");
        // On the node, a process with that id was started at another time.
        fs::write(
            place.join("stat"),
            format!("{pid} (containerd) S{}", " 7".repeat(40)),
        )
        .expect("written");
        let error = end_containerd(&host).expect_err("another process");
        assert!(matches!(error, RestartError::NoProcess), "{error}");
        fs::write(place.join("stat"), stat).expect("written");
        end_containerd(&host).expect("told");
        child.wait().expect("ended");
    }
}
