//! The program, run to its end, and the checks of every run.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use skiff_test_support::paths;

use crate::{Machine, Server};

/// Longer than anything here takes in a debug build, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// More than any of these cases needs in a debug build, and less than a hostile artifact
/// of some megabytes can expand to.
const MEMORY: u64 = 700 << 20;

/// A user reads all of it; `kubectl describe` shows only a part.
const MESSAGE: usize = 12 << 10;

/// The exit codes in `docs/failures.md`, except those of a guest or a signal.
const CODES: [i32; 6] = [0, 64, 65, 69, 74, 78];

/// `skiff`, ready to start in its own folders.
pub struct Skiff {
    command: Command,
    folders: Folders,
}

/// The folders that one start may write to.
pub(crate) struct Folders {
    all: tempfile::TempDir,
}

impl Folders {
    fn path(&self, name: &str) -> PathBuf {
        self.all.path().join(name)
    }

    /// Leftovers of unfinished work, by name.
    fn leftovers(&self) -> Vec<String> {
        let mut left = names(&self.path("tmp"));
        let begun = names(&self.path("cache"));
        left.extend(begun.into_iter().filter(|name| name.starts_with('.')));
        left
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        // Locks stay: removing one could remove another process's.
        .filter(|name| !name.ends_with(".lock"))
        .collect()
}

/// The result of a finished run.
pub struct Verdict {
    /// Its exit code, or minus the number of the signal that killed it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// The most memory that it or one of its processes took, in bytes.
    pub memory: u64,
    left: Vec<String>,
}

impl Skiff {
    /// `skiff run APPLICATION`.
    pub fn run(application: impl AsRef<Path>) -> Self {
        Skiff::new("run", application.as_ref())
    }

    /// `skiff inspect APPLICATION`.
    pub fn inspect(application: impl AsRef<Path>) -> Self {
        Skiff::new("inspect", application.as_ref())
    }

    fn new(verb: &str, application: &Path) -> Self {
        let folders = Folders {
            all: tempfile::tempdir().expect("a temporary folder"),
        };
        for name in ["tmp", "cache"] {
            fs::create_dir(folders.path(name)).expect("a folder");
        }
        let mut command = Command::new(paths::skiff());
        command
            .arg(verb)
            .arg(application)
            .env_clear()
            .env("TMPDIR", folders.path("tmp"))
            .env("SKIFF_CACHE_DIR", folders.path("cache"))
            .env("SKIFF_HTTP_LISTEN_ADDR", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Skiff { command, folders }
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Uses the code cache of earlier starts instead of an empty one, so that a guest is
    /// compiled once for all cases that serve it.
    #[must_use]
    pub fn shared_cache(self) -> Self {
        let cache = paths::target_dir().join("test-cache");
        self.env("SKIFF_CACHE_DIR", &cache.display().to_string())
    }

    /// Runs it on a failing machine.
    #[must_use]
    pub fn on(mut self, machine: Machine) -> Self {
        let [tmp, cache] = ["tmp", "cache"].map(|name| self.folders.path(name));
        let enter = machine.entered(&tmp, &cache);
        // SAFETY: only system calls on existing strings run between fork and exec.
        unsafe { self.command.pre_exec(enter) };
        self
    }

    /// Sets its standard output instead of a pipe that is read.
    #[must_use]
    pub fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    /// Sets its standard error instead of a pipe that is read.
    #[must_use]
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stderr(to);
        self
    }

    /// Runs it to its end and makes the checks of every case.
    ///
    /// # Panics
    ///
    /// If it does not end in time, or fails a check.
    #[track_caller]
    pub fn end(self) -> Verdict {
        let verdict = self.verdict();
        let Verdict { code, stderr, .. } = &verdict;
        assert!(CODES.contains(code), "exit code {code}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(stderr.len() <= MESSAGE, "{} bytes: {stderr}", stderr.len());
        let control = |letter: char| letter.is_control() && letter != '\n';
        assert!(!stderr.contains(control), "{stderr:?}");
        let mib = verdict.memory >> 20;
        assert!(verdict.memory <= MEMORY, "{mib} MiB of memory");
        assert!(verdict.left.is_empty(), "left behind: {:?}", verdict.left);
        verdict
    }

    /// Runs it to its end; checks the exit code, and that standard error contains all of
    /// `words`.
    ///
    /// # Panics
    ///
    /// If one of them differs.
    #[track_caller]
    pub fn refuses(self, code: i32, words: &[&str]) {
        let verdict = self.end();
        let stderr = &verdict.stderr;
        assert_eq!(verdict.code, code, "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is missing in: {stderr}");
        }
    }

    #[track_caller]
    fn verdict(mut self) -> Verdict {
        let mut child = self.command.spawn().expect("skiff starts");
        let [stdout, stderr] = pipes(&mut child).map(collected);
        let (code, memory) = wait(child);
        Verdict {
            code,
            memory,
            stdout: stdout.join().expect("a reader"),
            stderr: stderr.join().expect("a reader"),
            left: self.folders.leftovers(),
        }
    }

    /// Starts it and waits until it prints its address.
    ///
    /// # Panics
    ///
    /// If it ends instead.
    #[track_caller]
    pub fn serve(mut self) -> Server {
        let child = self.command.spawn().expect("skiff starts");
        Server::new(child, self.folders, PATIENCE)
    }
}

type Pipe = Option<Box<dyn Read + Send>>;

fn pipes(child: &mut Child) -> [Pipe; 2] {
    [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ]
}

fn collected(pipe: Pipe) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).ok();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for its end, up to a limit. Returns the exit code and the most memory that it or
/// one of its processes took.
#[track_caller]
fn wait(child: Child) -> (i32, u64) {
    let id = child.id() as libc::pid_t;
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut status = 0;
        // SAFETY: the structure is plain data, for which all zeroes is valid, and the
        // child is ours and only waited for here.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::wait4(id, &mut status, 0, &mut usage);
            usage
        };
        sender.send((status, usage.ru_maxrss as u64 * 1024)).ok();
    });
    let Ok((status, memory)) = ended.recv_timeout(PATIENCE) else {
        // SAFETY: the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(id, libc::SIGKILL) };
        panic!("it does not end within {PATIENCE:?}");
    };
    let code = match libc::WIFSIGNALED(status) {
        true => -libc::WTERMSIG(status),
        false => libc::WEXITSTATUS(status),
    };
    (code, memory)
}
