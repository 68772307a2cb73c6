//! The process that serves, from its first moment inside the container.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode as ProcessCode;
use std::time::Duration;

use anyhow::Context;
use skiff_artifact::Prepared;

use super::handover;
use super::instance::READY;
use super::plan::{Plan, Source};
use super::report::write_termination_message;
use crate::app::{App, Given};
use crate::exit::{ExitCode, code_of, told};
use crate::process::{self, Process, SHUTDOWN_DELAY_IN_POD};
use crate::settings::{self, Settings};

/// What the process is called in the node's process list.
const NAME: &std::ffi::CStr = c"skiff";

/// How long the last line may take to be written.
const LAST_LINE: Duration = Duration::from_millis(100);

/// Tells the shim how the start went, once.
struct Status(RefCell<Option<File>>);

impl Status {
    fn take() -> io::Result<Self> {
        let file = handover::take(handover::STATUS)?;
        Ok(Status(RefCell::new(Some(file.into()))))
    }

    /// Tells that requests are taken from now on.
    fn ready(&self) -> io::Result<()> {
        match self.0.take() {
            Some(mut file) => file.write_all(format!("{READY}\n").as_bytes()),
            None => Ok(()),
        }
    }

    /// Tells a failure, and whether that was one of the start.
    fn failed(&self, message: &str) -> bool {
        let told = self
            .0
            .take()
            .map(|mut file| file.write_all(message.as_bytes()));
        matches!(told, Some(Ok(())))
    }
}

/// Serves the application that the shim has prepared, in the process that the
/// shim has started for it.
pub fn main() -> ProcessCode {
    rename();
    let status = match Status::take() {
        Ok(status) => status,
        Err(_) => {
            eprintln!("skiff: only the shim starts this");
            return ExitCode::Usage.into();
        }
    };
    let mut termination_message = None;
    match run(&status, &mut termination_message) {
        Ok(code) => ProcessCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            // The shim tells the owner of a failed start, here and in the events.
            if !status.failed(&told(&error)) {
                tell(&error, termination_message.as_deref());
            }
            code_of(&error).into()
        }
    }
}

/// Tells the owner of a container that has started what ended it.
fn tell(error: &anyhow::Error, termination_message: Option<&Path>) {
    let message = told(error);
    // Nobody may read, and the message below is still to be written.
    let mut stderr = process::output::stderr();
    let written = stderr.write_all(format!("skiff: {message}\n").as_bytes());
    process::output::flush(LAST_LINE);
    if let Err(error) = written {
        tracing::debug!(%error, "Nobody can be told");
    }
    if let Some(path) = termination_message
        && let Err(error) = write_termination_message(&message, path)
    {
        eprintln!(
            "skiff: cannot write the termination message `{}`: {error}",
            path.display()
        );
    }
}

fn run(status: &Status, termination_message: &mut Option<PathBuf>) -> anyhow::Result<i32> {
    let plan = plan()?;
    termination_message.clone_from(&plan.termination_message);
    let (mut settings, warnings) = Settings::from_environment()?;
    process::start_logging(settings.process.log_level);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let cache = handover::take(handover::CACHE).context("the code cache was not passed along")?;
    // Open for as long as guests may read the application's files.
    let (prepared, _files) = prepared(&plan)?;
    let names = prepared.application.variables.keys().map(AsRef::as_ref);
    let values = settings::variable_values(settings::environment, names);
    let environment = if plan.bare {
        settings::program_environment()
    } else {
        Vec::new()
    };
    let volumes = plan.mounts.into_iter().map(|mount| skiff_host::Mount {
        guest: mount.path.to_string_lossy().into_owned(),
        host: mount.path,
        writable: mount.writable,
    });
    let delay = &mut settings.process.shutdown_delay;
    delay.get_or_insert(SHUTDOWN_DELAY_IN_POD);
    let process = Process::new(&settings)?;
    let given = Given {
        values,
        environment,
        volumes: volumes.collect(),
        arguments: plan.args,
        ..process.given()
    };
    let app = App::new(&prepared, &plan.codes, &path_of(&cache), &settings, given)?;
    process.serve(app, settings.listen_in_pod(), |_| {
        status.ready().context("cannot tell the shim")
    })
}

fn plan() -> anyhow::Result<Plan> {
    let mut text = Vec::new();
    handover::take(handover::PLAN)
        .and_then(|file| File::from(file).read_to_end(&mut text))
        .context("cannot read the plan")?;
    serde_json::from_slice(&text).context("cannot read the plan")
}

/// The application, and its files: as they came with the image, whatever the container
/// has mounted over them.
fn prepared(plan: &Plan) -> anyhow::Result<(Prepared, OwnedFd)> {
    let files = handover::take(handover::APP).context("the application was not passed along")?;
    let folder = path_of(&files);
    let prepared = match &plan.source {
        Source::Unpacked => Prepared::from_unpacked(&folder)?,
        Source::RootFs {
            entrypoint,
            directory,
        } => Prepared::from_rootfs(&folder, entrypoint, directory)?,
    };
    Ok((prepared, files))
}

/// A path to an open folder, which no path of the container leads to.
fn path_of(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

fn rename() {
    // A process that was executed from a descriptor is else called by its number.
    if let Err(error) = rustix::thread::set_name(NAME) {
        eprintln!("skiff: cannot set the process's name: {error}");
    }
}
