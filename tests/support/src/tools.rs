//! Programs that are built once per checkout and kept in the target folder: containerd at
//! the versions under test, the pause program of a pod, and the further programs of a
//! cluster.

mod cluster;
mod debian;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

use crate::paths;

pub use cluster::{
    coredns, helm, keda, kube_router, kubernetes, metrics_server, runtime_class_manager, skipper,
    spin_operator,
};
pub use debian::debian;

/// How to get Go, which builds most of the tools.
const GO_HINT: &str = "install Go 1.26.8 or newer (an older one from 1.21 on fetches it)";

/// A release series of containerd that the shim supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// The oldest series whose image service accepts Wasm layers.
    V1_7,
    /// The current series.
    V2,
}

impl Version {
    /// Both, the current one first.
    pub const ALL: [Self; 2] = [Self::V2, Self::V1_7];

    /// The release to build.
    pub fn number(self) -> &'static str {
        match self {
            Self::V1_7 => "1.7.35",
            Self::V2 => "2.3.7",
        }
    }

    /// The release's Go module.
    fn module(self) -> &'static str {
        match self {
            Self::V1_7 => "github.com/containerd/containerd",
            Self::V2 => "github.com/containerd/containerd/v2",
        }
    }
}

/// The programs of containerd: the daemon, its client, and its shim for Linux containers.
const CONTAINERD_PROGRAMS: [&str; 3] = ["containerd", "ctr", "containerd-shim-runc-v2"];

/// Leaves out the snapshotters that need C libraries or special kernels.
const CONTAINERD_TAGS: &str = "no_btrfs no_zfs no_devmapper";

/// What can go wrong while a tool is searched or built.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A program of the machine is missing.
    #[error("`{program}` cannot be run; {hint}")]
    Missing {
        /// Its name.
        program: &'static str,
        /// How to get it.
        hint: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A build failed.
    #[error("building {tool} failed at `{step}`:\n{output}")]
    Build {
        /// The tool.
        tool: String,
        /// The command, as typed in a shell.
        step: String,
        /// The last lines it printed.
        output: String,
    },
    /// A file or folder of the tool cache cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The folder that holds `containerd`, `ctr` and `containerd-shim-runc-v2` of this
/// version. Missing ones are built with Go, which takes about two minutes on two cores
/// and needs the module proxy.
///
/// # Errors
///
/// When Go is missing, the build fails, or the cache cannot be written.
pub fn containerd(version: Version) -> Result<PathBuf, ToolError> {
    let name = format!("containerd-{}", version.number());
    kept(&name, |partial| build_containerd(version, partial))
}

/// The static program that holds a pod's namespaces: it waits for SIGTERM.
///
/// # Errors
///
/// When there is no C compiler, the build fails, or the cache cannot be written.
pub fn pause() -> Result<PathBuf, ToolError> {
    const SOURCE: &str = include_str!("../programs/pause.c");
    let stamp = hex::encode(&Sha256::digest(SOURCE)[..6]);
    let folder = kept(&format!("pause-{stamp}"), |partial| {
        let source = partial.join("pause.c");
        write(&source, SOURCE.as_bytes())?;
        let mut compile = Command::new("cc");
        compile
            .args(["-static", "-Os", "-s", "-o"])
            .arg(partial.join("pause"))
            .arg(&source);
        run("pause", "cc", "install gcc and libc6-dev", compile)
    })?;
    Ok(folder.join("pause"))
}

/// Returns the folder `name` of the tool cache, made by `build` if it is missing. Of two
/// concurrent test programs one builds and the other waits. An interrupted build leaves
/// nothing that looks finished.
fn kept(
    name: &str,
    build: impl FnOnce(&Path) -> Result<(), ToolError>,
) -> Result<PathBuf, ToolError> {
    let tools = paths::target_dir().join("tools");
    let done = tools.join(name);
    make(&tools)?;
    let lock = tools.join(format!(".{name}.lock"));
    let guard = File::create(&lock)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|source| ToolError::Write { path: lock, source })?;
    if !done.exists() {
        let partial = tools.join(format!(".{name}.partial"));
        fs::remove_dir_all(&partial).ok();
        make(&partial)?;
        build(&partial)?;
        fs::rename(&partial, &done).map_err(|source| ToolError::Write {
            path: done.clone(),
            source,
        })?;
    }
    drop(guard);
    Ok(done)
}

fn build_containerd(version: Version, into: &Path) -> Result<(), ToolError> {
    let packages = CONTAINERD_PROGRAMS
        .map(|program| format!("{}/cmd/{program}@v{}", version.module(), version.number()));
    let tool = format!("containerd {}", version.number());
    go_install(&tool, &packages, CONTAINERD_TAGS, into)
}

/// Builds programs of public Go modules, each `package@version`, inside a temporary
/// module: `go install package@version` refuses a module that has exclude directives, as
/// containerd 1.7 does.
fn go_install(tool: &str, packages: &[String], tags: &str, into: &Path) -> Result<(), ToolError> {
    let scratch = into.join("module");
    make(&scratch)?;
    write(
        &scratch.join("go.mod"),
        b"module skiff.test/tools\n\ngo 1.24\n",
    )?;
    let mut get = Command::new("go");
    get.current_dir(&scratch).arg("get").args(packages);
    run(tool, "go", GO_HINT, get)?;

    let mut install = Command::new("go");
    install
        .current_dir(&scratch)
        .env("GOBIN", into)
        .env("CGO_ENABLED", "0");
    install.args(["install", "-trimpath", "-tags", tags, "-ldflags", "-s -w"]);
    install.args(
        packages
            .iter()
            .filter_map(|package| package.split('@').next()),
    );
    run(tool, "go", GO_HINT, install)?;
    fs::remove_dir_all(&scratch).map_err(|source| ToolError::Write {
        path: scratch,
        source,
    })
}

fn run(
    tool: &str,
    program: &'static str,
    hint: &'static str,
    command: Command,
) -> Result<(), ToolError> {
    told(tool, program, hint, command).map(drop)
}

/// Runs a command and returns its output.
fn told(
    tool: &str,
    program: &'static str,
    hint: &'static str,
    mut command: Command,
) -> Result<Vec<u8>, ToolError> {
    let done = command.output().map_err(|source| ToolError::Missing {
        program,
        hint,
        source,
    })?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let args: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    Err(ToolError::Build {
        tool: tool.to_owned(),
        step: format!("{program} {}", args.join(" ")),
        output: last_lines(&done),
    })
}

/// Compilers print the cause last, after up to thousands of lines, and some print it to
/// stdout.
fn last_lines(done: &Output) -> String {
    const KEPT: usize = 20;
    let told = if done.stderr.is_empty() {
        &done.stdout
    } else {
        &done.stderr
    };
    let text = String::from_utf8_lossy(told);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(KEPT)..].join("\n")
}

fn make(folder: &Path) -> Result<(), ToolError> {
    fs::create_dir_all(folder).map_err(|source| ToolError::Write {
        path: folder.to_owned(),
        source,
    })
}

fn write(path: &Path, content: &[u8]) -> Result<(), ToolError> {
    fs::write(path, content).map_err(|source| ToolError::Write {
        path: path.to_owned(),
        source,
    })
}
