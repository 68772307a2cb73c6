//! A long-running part of the cluster: one process, one log.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;
use skiff_test_support::cgroups::Tree;
use skiff_test_support::containerd::last_lines;
use skiff_test_support::processes;

use crate::inside::Scope;

/// The search path of every part. It is fixed, so that no program of the user who runs
/// the tests is picked up by chance.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How to start a part.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    revived: bool,
}

impl Line {
    /// A part of that name: this program with these arguments.
    pub(crate) fn new(name: &'static str, program: &Path, args: &[&str]) -> Self {
        Self {
            name,
            program: program.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            revived: false,
        }
    }

    /// Restarts it whenever it ends, as a service manager would.
    pub(crate) fn revived(mut self) -> Self {
        self.revived = true;
        self
    }
}

/// A running part. Dropping it kills its process.
#[derive(Debug)]
pub(crate) struct Program {
    line: Line,
    log: PathBuf,
    home: PathBuf,
    tree: Tree,
    child: Child,
}

impl Program {
    /// Starts it, in a cgroup of the run with its name.
    ///
    /// # Errors
    ///
    /// When it cannot be executed or put into its cgroup.
    pub(crate) fn start(scope: &Scope, line: Line) -> anyhow::Result<Self> {
        let log = scope
            .folder()
            .join("logs")
            .join(format!("{}.log", line.name));
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder)?;
        }
        let home = scope.folder().join("home");
        fs::create_dir_all(&home)?;
        let tree = scope.cgroups();
        let child = spawn(&line, &log, &home, &tree)?;
        Ok(Self {
            line,
            log,
            home,
            tree,
            child,
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.line.name
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&bytes))
    }

    /// Fails with the end of its log if it has ended for good.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if self.line.revived {
            return Ok(());
        }
        if let Ok(Some(status)) = self.child.try_wait() {
            let how = match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => format!("{status}"),
            };
            bail!("{} ended ({how}):\n{}", self.name(), self.last_words());
        }
        Ok(())
    }

    /// Kills it, as a machine that runs out of memory would.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Starts it again if it ended and a service manager would.
    ///
    /// # Errors
    ///
    /// As [`Program::start`].
    pub(crate) fn revive(&mut self) -> anyhow::Result<()> {
        if self.line.revived && matches!(self.child.try_wait(), Ok(Some(_))) {
            self.child = spawn(&self.line, &self.log, &self.home, &self.tree)?;
        }
        Ok(())
    }

    /// Terminates it, waits, and returns whether it ended.
    pub(crate) fn stop(&mut self, limit: Duration) -> bool {
        const AGAIN: Duration = Duration::from_millis(10);
        processes::signal(self.pid(), Signal::TERM);
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(AGAIN);
        }
        false
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
        // A part that a case started removes its cgroup; the final check finds what
        // stays.
        let groups = self.tree.groups().into_iter();
        for group in groups.filter(|group| group.ends_with(self.line.name)) {
            fs::remove_dir(group).ok();
        }
    }
}

fn spawn(line: &Line, log: &Path, home: &Path, tree: &Tree) -> anyhow::Result<Child> {
    let out = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    let child = Command::new(&line.program)
        .args(&line.args)
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        // An interrupt from the keyboard ends the run, which ends it.
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {}", line.program.display()))?;
    tree.adopt(line.name, child.id())
        .with_context(|| format!("putting {} into its cgroup", line.name))?;
    Ok(child)
}
