//! A Debian with systemd as its first process and containerd as one of its units, in a
//! container of this machine.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use skiff_installer::host::Host;
use skiff_test_support::guard::Run;
use skiff_test_support::{processes, tools};

use crate::support::tree::Tree;

/// Where containerd listens in it.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";

/// The unit of containerd, as the containerd project recommends it.
const UNIT: &str = "\
[Unit]
Description=containerd container runtime
After=network.target

[Service]
Type=notify
ExecStart=/usr/bin/containerd
Delegate=yes
KillMode=process
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
";

/// Where an administrator's units are.
const UNITS: &str = "etc/systemd/system";

/// Folders that only administrators and installers write to once a machine has started.
const KEPT: [&str; 3] = ["etc", "opt", "usr/local"];

/// How long it, or a unit in it, may take to start.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

const AGAIN: Duration = Duration::from_millis(50);

/// A machine before its start.
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// A disk for a machine of that name: this Debian, with these containerd programs.
    /// Writes go to the run's folder.
    pub(crate) fn new(
        run: &Run,
        name: &str,
        debian: &Path,
        containerd: &Path,
    ) -> anyhow::Result<Self> {
        let folder = run.folder().join(name);
        for part in ["written", "work", "root"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let disk = Self { folder };
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            debian.display(),
            disk.folder.join("written").display(),
            disk.folder.join("work").display(),
        );
        let options = std::ffi::CString::new(options)?;
        let flags = MountFlags::empty();
        mount("overlay", disk.root(), "overlay", flags, Some(&*options))
            .context("mounting the root of a machine")?;
        for program in ["containerd", "ctr", "containerd-shim-runc-v2"] {
            fs::copy(
                containerd.join(program),
                disk.root().join("usr/bin").join(program),
            )?;
        }
        disk.write("containerd.service", UNIT)?;
        let wanted = disk.root().join(UNITS).join("multi-user.target.wants");
        fs::create_dir_all(&wanted)?;
        symlink("../containerd.service", wanted.join("containerd.service"))?;
        let pause = disk.root().join("srv/pause");
        fs::create_dir_all(&pause)?;
        fs::copy(tools::pause()?, pause.join("pause"))?;
        Ok(disk)
    }

    /// Writes a unit, or a drop-in of one.
    pub(crate) fn write(&self, unit: &str, text: &str) -> anyhow::Result<()> {
        let path = self.root().join(UNITS).join(unit);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, text)?)
    }

    /// Makes a unit fail to start.
    pub(crate) fn mask(&self, unit: &str) -> anyhow::Result<()> {
        Ok(symlink("/dev/null", self.root().join(UNITS).join(unit))?)
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }
}

/// A running machine; dropping it switches it off.
pub(crate) struct Machine {
    disk: Disk,
    container: Child,
    first_process: u32,
}

impl Machine {
    /// Starts it, and waits until its containerd answers.
    pub(crate) fn start(run: &Run, disk: Disk) -> anyhow::Result<Self> {
        let log = File::create(disk.folder.join("console.log"))?;
        // It begins only after it was moved to where all of its children are found.
        let mut container = Command::new("sh")
            .args(["-c", "read told && exec systemd-nspawn \"$@\"", "sh"])
            .arg("--directory")
            .arg(disk.root())
            .args(["--boot", "--register=no", "--keep-unit"])
            .args(["--private-network", "--link-journal=no"])
            // runc gives each container a keyring.
            .arg("--system-call-filter=@keyring")
            .args(["--resolv-conf=off", "--timezone=off", "--console=pipe"])
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // An interrupt from the keyboard ends the run, which ends it.
            .process_group(0)
            .spawn()?;
        let told = container.stdin.take();
        let mut machine = Self {
            disk,
            container,
            first_process: 0,
        };
        run.cgroups().adopt("machine", machine.container.id())?;
        writeln!(told.context("a pipe")?)?;
        machine
            .wait_for_containerd()
            .with_context(|| format!("a machine said:\n{}", machine.console()))?;
        Ok(machine)
    }

    fn wait_for_containerd(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + STARTED_WITHIN;
        loop {
            ensure!(Instant::now() < end, "its containerd does not run in time");
            ensure!(self.container.try_wait()?.is_none(), "it ended");
            let inside = processes::tree(self.container.id());
            self.first_process = inside.into_iter().find(is_first).unwrap_or_default();
            if self.first_process != 0 && self.state_of("containerd")? == "active" {
                return Ok(());
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Its files, as seen from a container with its root.
    pub(crate) fn host(&self) -> Host {
        Host::new(format!("/proc/{}/root", self.first_process))
    }

    /// The part of its disk that only administrators and installers write.
    pub(crate) fn files(&self) -> [Tree; KEPT.len()] {
        KEPT.map(|folder| Tree::of(&self.disk.root().join(folder)))
    }

    /// Fails if its files differ from these.
    pub(crate) fn has_files(&self, expected: &[Tree]) -> anyhow::Result<()> {
        for (folder, (expected, found)) in KEPT.iter().zip(expected.iter().zip(self.files())) {
            let difference = expected.difference(&found);
            ensure!(difference.is_empty(), "in /{folder}:\n{difference}");
        }
        Ok(())
    }

    /// The state of a unit, as systemd names it.
    pub(crate) fn state_of(&self, unit: &str) -> anyhow::Result<String> {
        self.property(unit, "ActiveState")
    }

    /// The id of containerd's process inside the machine.
    pub(crate) fn containerd(&self) -> anyhow::Result<String> {
        self.property("containerd", "MainPID")
    }

    fn property(&self, unit: &str, name: &str) -> anyhow::Result<String> {
        let property = format!("--property={name}");
        // systemd's own socket exists before any unit, and without a bus.
        let shown = self.run("systemctl", &["show", "--value", &property, unit]);
        Ok(shown.unwrap_or_default().trim().to_owned())
    }

    /// Runs the installer as a container on the machine would: in the machine's process
    /// namespace, as systemd ignores it otherwise. Returns its output.
    pub(crate) fn installer(&self, payload: &Path, args: &[&str]) -> anyhow::Result<String> {
        let mut installer = self.enter("--pid");
        installer
            .arg(env!("CARGO_BIN_EXE_skiff-installer"))
            .arg("--host-root")
            .arg(self.host().root())
            .arg("--payload")
            .arg(payload)
            .args(args);
        told(&mut installer)
    }

    /// Writes a drop-in of a unit, and makes systemd read it.
    pub(crate) fn rewrite(&self, unit: &str, text: &str) -> anyhow::Result<()> {
        self.disk.write(unit, text)?;
        self.run("systemctl", &["daemon-reload"]).map(drop)
    }

    /// Starts a Linux container that does nothing.
    pub(crate) fn start_pause(&self) -> anyhow::Result<()> {
        // systemd has mounted them read-only, and runc creates groups.
        const WRITABLE: &str = "for group in /sys/fs/cgroup/*; do \
            mount -o remount,bind,rw $group 2>/dev/null || :; done";
        self.run("sh", &["-c", WRITABLE])?;
        let rootfs = ["--rootfs", "/srv/pause", "pause", "/pause"];
        self.run("ctr", &[&["run", "--detach"][..], &rootfs].concat())
            .map(drop)
    }

    /// The process id of that container, if it runs.
    pub(crate) fn pause(&self) -> anyhow::Result<Option<String>> {
        let listed = self.run("ctr", &["tasks", "list"])?;
        let words = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|words| matches!(words[..], ["pause", _, "RUNNING"]));
        Ok(words.map(|words| words[1].to_owned()))
    }

    fn run(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        told(self.enter("--all").arg(program).args(args))
    }

    /// The start of a command in some or all of the machine's namespaces.
    fn enter(&self, namespaces: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(namespaces)
            .arg(format!("--target={}", self.first_process));
        command
    }

    /// Its console output.
    fn console(&self) -> String {
        fs::read_to_string(self.disk.folder.join("console.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its first process dies with it, and with that all of its processes.
        self.container.kill().ok();
        self.container.wait().ok();
        unmount(self.disk.root(), UnmountFlags::DETACH).ok();
    }
}

/// Runs a command that must succeed, and returns its output.
fn told(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a process is the first one of its process namespace.
fn is_first(pid: &u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let mut numbers = numbers.unwrap_or_default().split_whitespace();
    numbers.next() != Some("1") && numbers.next_back() == Some("1")
}
