//! Servers under load: started on a free port, awaited, and ended by their ids.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use skiff_test_support::measure::{self, Memory};

use crate::proc::{self, Used};

/// The pause between two probes of a server that does not answer yet. Short, because the
/// same loop measures start times.
const LOOK_AGAIN: Duration = Duration::from_micros(500);

/// How long a server may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A command line with its environment.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// The program; looked up on PATH if it has no slash.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables it gets in addition.
    pub environment: Vec<(String, String)>,
}

impl Line {
    /// A program with arguments.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    /// The same with one more variable.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is no such program.
    #[error("there is no `{}`", program.display())]
    Missing {
        /// The program.
        program: PathBuf,
    },
    /// It exists but could not be started.
    #[error("cannot start `{}`", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// In the given time it ended, or answered without success, or not at all.
    #[error("`{program}` did not answer with success: {told}")]
    NoAnswer {
        /// The program's name.
        program: String,
        /// The end of its output, or its exit status.
        told: String,
    },
    /// Something around it failed, the log file or a free port.
    #[error("cannot prepare a server's log or port")]
    Prepare(#[source] io::Error),
}

/// One or more processes that serve the same port. Dropping it ends them.
#[derive(Debug)]
pub struct Server {
    children: Vec<Child>,
    /// Where they listen, on loopback.
    pub address: SocketAddr,
    log: PathBuf,
    programs: Vec<PathBuf>,
}

impl Server {
    /// Starts the commands of `lines` for a free address. Standard output and error of
    /// all processes go to `log`.
    ///
    /// # Errors
    /// If a program is missing or does not start. It need not answer yet.
    pub fn start(
        log: &Path,
        lines: impl FnOnce(SocketAddr) -> Vec<Line>,
    ) -> Result<Self, ServerError> {
        let address = free_address().map_err(ServerError::Prepare)?;
        let file = File::create(log).map_err(ServerError::Prepare)?;
        let mut server = Self {
            children: Vec::new(),
            address,
            log: log.to_owned(),
            programs: Vec::new(),
        };
        for line in lines(address) {
            server.children.push(spawn(&line, &file)?);
            server.programs.push(line.program);
        }
        Ok(server)
    }

    /// Waits until `GET /` is answered with success and returns the time this took.
    ///
    /// # Errors
    /// If a process ends before, or `patience` passes.
    pub fn answered(&mut self, patience: Duration) -> Result<Duration, ServerError> {
        let begin = Instant::now();
        loop {
            if answers(self.address) {
                return Ok(begin.elapsed());
            }
            let ended = self
                .children
                .iter_mut()
                .find_map(|child| child.try_wait().ok().flatten());
            let told = match ended {
                Some(status) => format!("it ended, {status}: {}", self.told()),
                None if begin.elapsed() > patience => {
                    format!("not within {} s: {}", patience.as_secs(), self.told())
                }
                None => {
                    thread::sleep(LOOK_AGAIN);
                    continue;
                }
            };
            let program = self
                .programs
                .last()
                .map_or_else(String::new, |path| name_of(path));
            return Err(ServerError::NoAnswer { program, told });
        }
    }

    /// Waits until its processes, and all others of its programs, have no work left; see
    /// [`proc::settle`]. A background compiler need not be a child.
    pub fn settle(&self, patience: Duration) -> Duration {
        let kin = || {
            let mut ids = self.ids();
            ids.extend(self.programs.iter().flat_map(|path| proc::executing(path)));
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        proc::settle(kin, patience)
    }

    /// Processor time of its processes so far, in clock ticks.
    pub fn used(&self) -> Used {
        proc::used_below(&self.ids())
    }

    /// Memory of its processes now.
    pub fn memory(&self) -> Memory {
        let ids = proc::tree(&self.ids()).into_iter();
        measure::memory_of(
            &ids.filter_map(|process| process.id.try_into().ok())
                .collect(),
        )
    }

    fn ids(&self) -> Vec<i32> {
        let ids = self.children.iter();
        ids.filter_map(|child| i32::try_from(child.id()).ok())
            .collect()
    }

    /// The last lines of the log, on one line.
    fn told(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines[lines.len().saturating_sub(4)..].join(" ")
    }
}

impl Drop for Server {
    /// Sends SIGTERM first, because only the server itself may be able to end its
    /// workers, then kills the remaining processes.
    fn drop(&mut self) {
        let family = proc::tree(&self.ids());
        for id in self.ids() {
            signal(id, Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        let mut running = self.children.len();
        while running > 0 && Instant::now() < deadline {
            let children = self.children.iter_mut();
            running = children
                .filter_map(|child| matches!(child.try_wait(), Ok(None)).then_some(()))
                .count();
            thread::sleep(Duration::from_millis(10));
        }
        for was in family {
            // The start time distinguishes our process from another with its old id.
            if proc::process(was.id).is_some_and(|now| now.started == was.started) {
                signal(was.id, Signal::KILL);
            }
        }
        for child in &mut self.children {
            child.wait().ok();
        }
    }
}

/// Sends a signal. It is not a failure if the process has ended meanwhile.
fn signal(id: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(id) {
        kill_process(pid, signal).ok();
    }
}

/// Starts a process that gets SIGTERM when the bench dies in any way.
fn spawn(line: &Line, log: &File) -> Result<Child, ServerError> {
    let program = line.program.clone();
    if program.components().count() > 1 && !program.exists() {
        return Err(ServerError::Missing { program });
    }
    let (out, err) = match (log.try_clone(), log.try_clone()) {
        (Ok(out), Ok(err)) => (out, err),
        (Err(source), _) | (_, Err(source)) => return Err(ServerError::Prepare(source)),
    };
    Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "--"])
        .arg(&line.program)
        .args(&line.arguments)
        .envs(line.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|source| ServerError::Start { program, source })
}

fn name_of(program: &Path) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str());
    name.to_string_lossy().into_owned()
}

/// A free port of loopback.
///
/// # Errors
/// If the system has none.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Whether `GET /` is answered with status 200 there.
pub fn answers(address: SocketAddr) -> bool {
    status(address).is_ok_and(|status| status == 200)
}

/// The status of `GET /`, or an error if the answer is not HTTP.
fn status(address: SocketAddr) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    // "HTTP/1.1 200" is enough, and the guest has answered by then.
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    std::str::from_utf8(&head[9..])
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("no-such-server");
        let error = Server::start(&folder.path().join("log"), |_| {
            vec![Line::new(&path, ["x"])]
        })
        .map(|_| ());
        assert!(matches!(error, Err(ServerError::Missing { program }) if program == path));
    }

    #[test]
    fn a_server_that_ends_tells_what_it_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = Line::new("sh", ["-c", "echo the component does not fit >&2; exit 3"]);
        let mut server =
            Server::start(&folder.path().join("log"), |_| vec![line]).expect("sh starts");
        let error = server
            .answered(Duration::from_secs(20))
            .expect_err("it ends");
        let text = error.to_string();
        assert!(text.contains("the component does not fit"), "{text}");
        assert!(text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn dropping_a_server_ends_its_workers_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = Line::new("sh", ["-c", "sleep 300 & echo $!; wait"]);
        let log = folder.path().join("log");
        let server = Server::start(&log, |_| vec![line]).expect("sh starts");
        let worker = loop {
            if let Ok(id) = std::fs::read_to_string(&log)
                .unwrap_or_default()
                .trim()
                .parse()
            {
                break id;
            }
            thread::sleep(LOOK_AGAIN);
        };
        drop(server);
        let deadline = Instant::now() + GRACE;
        while proc::process(worker).is_some() {
            assert!(Instant::now() < deadline, "worker {worker} is still there");
            thread::sleep(LOOK_AGAIN);
        }
    }
}
