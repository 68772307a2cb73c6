//! The whole installer with each containerd series: this machine is the node, with a
//! separate containerd and overlays on the folders that are written.

mod support;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::mount::{MountFlags, mount};
use skiff_installer::check::{Check, CheckError};
use skiff_installer::cri::{self, CriError};
use skiff_installer::dump::DumpError;
use skiff_installer::host::Host;
use skiff_installer::install::{Installer, Limits};
use skiff_installer::layouts::Service;
use skiff_installer::node::{Node, RealNode, RestartError};
use skiff_installer::upgrade::{Outcome, bring_up};
use skiff_test_support::guard::Run;
use skiff_test_support::paths;
use skiff_test_support::tools::{self, Version};
use tokio::runtime::{Handle, Runtime};

use support::real::{self, hello, payload};

/// Folders of this machine that a run writes to, through overlays of its own.
const WRITTEN: [&str; 3] = ["/etc", "/opt", "/usr/local/bin"];

const CONFIG: &str = "/etc/containerd/config.toml";

/// How long a check may take on a busy machine.
const CHECKED_WITHIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    real::main(("install_check_upgrade_and_uninstall", within))
}

fn within() -> anyhow::Result<()> {
    let programs: Vec<_> = Version::ALL
        .into_iter()
        .map(|version| Ok((version, tools::containerd(version)?)))
        .collect::<anyhow::Result<_>>()?;
    let run = Run::isolated().context("it starts a containerd; run it as root")?;
    for folder in WRITTEN {
        layer_over(folder, &run)?;
    }
    let runtime = Runtime::new()?;
    let _container = container(&run)?;
    for (version, programs) in programs {
        let number = version.number();
        let machine = Machine::new(&run, version, &programs, runtime.handle())?;
        scenario(&machine, &run, runtime.handle()).with_context(|| {
            let log = fs::read_to_string(machine.log()).unwrap_or_default();
            let log = skiff_test_support::containerd::last_lines(&log);
            format!("containerd {number}, whose log is:\n{log}\n")
        })?;
    }
    Ok(())
}

fn scenario(machine: &Machine<'_>, run: &Run, handle: &Handle) -> anyhow::Result<()> {
    let host = Host::new("/");
    let installer = Installer::new(&host, machine, Limits::default());
    let before = written(run)?;
    let config = fs::read(CONFIG)?;

    // A missing version cannot be checked.
    let check = |guest: &str, shim: Option<&Path>, within: Duration| -> Result<(), CheckError> {
        let check = Check {
            socket: machine.socket(),
            hello: hello(run, guest),
            shim: shim.map(Path::to_owned),
            within,
        };
        handle.block_on(check.run(&host))
    };
    let error = check("args-env", None, CHECKED_WITHIN).expect_err("no shim is there");
    ensure!(matches!(error, CheckError::Refused { .. }), "{error:?}");

    let hello = |shim: Option<&Path>| check("args-env", shim, CHECKED_WITHIN);
    let restarts = machine.restarts();
    let broken = payload(run, "0.9.0", Path::new("/bin/false"))?;
    let outcome = bring_up(&installer, &broken, &hello, Duration::ZERO);
    ensure!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    let after = written(run)?;
    ensure!(before == after, "left: {after:?}, and before: {before:?}");
    ensure!(machine.restarts() == restarts, "nothing is restarted");

    let first = payload(run, "1.0.0", &paths::skiff())?;
    let report = installer.install(&first, false)?;
    ensure!(report.restarted, "containerd has to read it: {report}");
    let began = Instant::now();
    let report = installer.install(&first, false)?;
    ensure!(report.is_empty(), "nothing was to be done: {report}");
    ensure!(began.elapsed() < Duration::from_secs(1), "it took long");

    check("args-env", None, CHECKED_WITHIN)?;
    check("args-env", None, CHECKED_WITHIN)?;
    let error = check("run-error", None, CHECKED_WITHIN).expect_err("it fails");
    ensure!(matches!(error, CheckError::Status { .. }), "{error:?}");
    let error = check("wait", None, Duration::from_secs(3)).expect_err("it hangs");
    ensure!(matches!(error, CheckError::TooLate { .. }), "{error:?}");
    machine.is_clear(handle)?;

    let restarts = machine.restarts();
    let second = payload(run, "2.0.0", &paths::skiff())?;
    let outcome = bring_up(&installer, &second, &hello, Duration::ZERO);
    ensure!(matches!(outcome, Outcome::Ready), "{outcome:?}");
    let broken = payload(run, "3.0.0", Path::new("/bin/false"))?;
    match bring_up(&installer, &broken, &hello, Duration::ZERO) {
        Outcome::Kept { version, .. } if version == "2.0.0" => {}
        outcome => bail!("a broken version is not kept out: {outcome:?}"),
    }
    ensure!(
        machine.restarts() == restarts,
        "an upgrade restarts nothing"
    );
    hello(None)?;
    machine.is_clear(handle)?;

    installer.uninstall(false)?;
    ensure!(
        fs::read(CONFIG)? == config,
        "the configuration is not as before"
    );
    let after = written(run)?;
    ensure!(before == after, "left: {after:?}, and before: {before:?}");
    let offered = machine.handlers(&host, &machine.socket())?;
    ensure!(!offered.contains(&"skiff".to_owned()), "{offered:?}");
    Ok(())
}

/// A container as the installer sees it: a process with its own folders, and another
/// program at the path of the node's Skiff. It ends when dropped.
fn container(run: &Run) -> anyhow::Result<Child> {
    const PROGRAM: &str = "/opt/skiff/0.9.0/skiff";
    let script = format!(
        "mount -t tmpfs container /opt && mkdir -p /opt/skiff/0.9.0 && \
         cp /bin/sh {PROGRAM} && exec {PROGRAM} -c 'read end'"
    );
    let process = Command::new("unshare")
        .args(["--mount", "sh", "-ec", &script])
        .stdin(Stdio::piped())
        .spawn()
        .context("unshare")?;
    run.cgroups().adopt("container", process.id())?;
    let end = Instant::now() + Duration::from_secs(10);
    while fs::read_link(format!("/proc/{}/exe", process.id()))? != Path::new(PROGRAM) {
        ensure!(Instant::now() < end, "the container does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}

/// Puts an overlay on a folder: reads go through, writes stay in the run's folder.
fn layer_over(folder: &str, run: &Run) -> anyhow::Result<()> {
    let name = folder.trim_start_matches('/').replace('/', "-");
    let upper = run.folder().join("written").join(&name);
    let work = run.folder().join("work").join(&name);
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options = format!(
        "lowerdir={folder},upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    let options = std::ffi::CString::new(options)?;
    mount(
        "overlay",
        folder,
        "overlay",
        MountFlags::NOSUID,
        Some(options.as_c_str()),
    )
    .with_context(|| format!("cannot put an overlay on {folder}"))
}

/// Everything that the run wrote to the machine's folders.
fn written(run: &Run) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![run.folder().join("written")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            found.push(entry.path());
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// This machine with the run's own containerd.
struct Machine<'a> {
    run: &'a Run,
    number: &'static str,
    real: RealNode,
    runtime: Handle,
    daemon: Mutex<(Option<Child>, usize)>,
}

impl<'a> Machine<'a> {
    fn new(
        run: &'a Run,
        version: Version,
        programs: &Path,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all("/etc/containerd")?;
        fs::copy(programs.join("containerd"), "/usr/local/bin/containerd")?;
        let machine = Self {
            run,
            number: version.number(),
            real: RealNode::new(runtime.clone()),
            runtime: runtime.clone(),
            daemon: Mutex::new((None, 0)),
        };
        fs::create_dir_all(machine.state())?;
        fs::write(CONFIG, machine.config(version))?;
        machine.start_again()?;
        machine.wait()?;
        Ok(machine)
    }

    fn state(&self) -> PathBuf {
        self.run.state().join(self.number)
    }

    fn socket(&self) -> PathBuf {
        self.state().join("containerd.sock")
    }

    fn log(&self) -> PathBuf {
        self.run.folder().join(format!("{}.log", self.number))
    }

    fn restarts(&self) -> usize {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn config(&self, version: Version) -> String {
        let number = match version {
            Version::V1_7 => 2,
            Version::V2 => 3,
        };
        let root = self.run.folder().join("data").join(self.number);
        format!(
            "# A containerd of tests.\nversion = {number}\nroot = \"{}\"\nstate = \"{}\"\n\n\
             [grpc]\naddress = \"{}\"\n\n[ttrpc]\naddress = \"{}.ttrpc\"\n\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{}/opt\"\n\n\
             [plugins.\"io.containerd.nri.v1.nri\"]\ndisable = true",
            root.display(),
            self.state().display(),
            self.socket().display(),
            self.socket().display(),
            root.display(),
        )
    }

    fn start_again(&self) -> std::io::Result<()> {
        let mut daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = daemon.0.take() {
            child.kill()?;
            child.wait()?;
            daemon.1 += 1;
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = Command::new("/usr/local/bin/containerd")
            .args(["--config", CONFIG])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        self.run.cgroups().adopt("daemon", child.id())?;
        daemon.0 = Some(child);
        Ok(())
    }

    fn wait(&self) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while let Err(error) = self.runtime.block_on(cri::handlers(&self.socket())) {
            ensure!(Instant::now() < end, "containerd does not answer: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Checks that nothing is left in containerd or on the machine.
    fn is_clear(&self, handle: &Handle) -> anyhow::Result<()> {
        use containerd_client::services::v1::ListNamespacesRequest;
        let names = handle.block_on(async {
            let client = containerd_client::Client::from_path(self.socket()).await?;
            let request = ListNamespacesRequest::default();
            let listed = client.namespaces().list(request).await?.into_inner();
            let names = listed
                .namespaces
                .into_iter()
                .map(|namespace| namespace.name);
            anyhow::Ok(names.collect::<Vec<_>>())
        })?;
        ensure!(!names.contains(&"skiff-check".to_owned()), "{names:?}");
        ensure!(
            !Path::new("/run/skiff-check").exists(),
            "its output is left"
        );
        let left = skiff_test_support::processes::with_argument("skiff-check");
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let daemon = self
            .daemon
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = daemon.0.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Node for Machine<'_> {
    fn dump(
        &self,
        host: &Host,
        program: &Path,
        config: Option<&Path>,
    ) -> Result<String, DumpError> {
        self.real.dump(host, program, config)
    }

    fn restart(&self, _: &Host, _: Service, _: Duration) -> Result<(), RestartError> {
        self.start_again()
            .map_err(|source| RestartError::Signal { pid: 0, source })
    }

    fn handlers(&self, host: &Host, socket: &Path) -> Result<Vec<String>, CriError> {
        self.real.handlers(host, socket)
    }
}
