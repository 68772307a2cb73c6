//! The process that serves, from its start inside the container.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode as ProcessCode;

use anyhow::{Context, anyhow};
use serde::Deserialize;
use skiff_artifact::Prepared;
use skiff_engine::Cache;
use skiff_manifest::hosts::BlockedNetworks;
use skiff_manifest::runtime::{Defaults, Origin};
use skiff_task::application::{Handed, Status};
use skiff_task::report::write_termination_message;

use super::outcome::{Outcome, Source};
use super::{RUNTIME_CONFIG, STORES};
use crate::app::{self, App, Checked, Configuration, Given, Places, Setup};
use crate::exit::{ExitCode, code_of, told};
use crate::process::{self, Process, SHUTDOWN_DELAY_IN_POD};
use crate::settings::{self, Settings};

/// The process's name in the node's process list.
const NAME: &std::ffi::CStr = c"skiff";

/// Serves the application that the shim has prepared, in the process that the shim
/// started for it.
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
            // After a failed start the shim informs the owner, here and in the events.
            if !status.failed(&told(&error)) {
                tell(&error, termination_message.as_deref());
            }
            code_of(&error).into()
        }
    }
}

/// Reports to the owner of a started container what ended it.
fn tell(error: &anyhow::Error, termination_message: Option<&Path>) {
    let message = told(error);
    // If stderr has no reader, the termination message below is still written.
    process::output::tell_end(&message);
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
    let Handed { plan, folders } = Handed::take()?;
    termination_message.clone_from(&plan.termination_message);
    let outcome = Outcome::deserialize(&plan.application).context("cannot read the plan")?;
    // Kept open for as long as guests may read the application's files.
    let [code, files] = folders
        .try_into()
        .map_err(|_| anyhow!("the shim did not pass the application's folders"))?;
    let (mut settings, warnings) = Settings::from_environment()?;
    process::start_logging(settings.process.log_level);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let prepared = prepared(&outcome.source, &path_of(&files))?;
    let configuration = configuration()?;
    let has_more_inside = configuration.is_some() || settings.variables.is_some();
    let mut configuration = configuration.unwrap_or_default();
    if let Some(defaults) = &outcome.defaults {
        let origins;
        let defaults = Defaults::from_json(defaults).context("cannot read the plan")?;
        (configuration, origins) = configuration.with_defaults(&defaults)?;
        tell_origins(&origins);
    }
    configuration.complete(&mut settings);
    let names = prepared.application.variables.keys().map(AsRef::as_ref);
    let places = Places {
        set: app::Values::new(),
        folder: settings.variables.as_deref(),
        environment: &settings::environment,
        usual: settings::variable_values(settings::environment, names),
        dotenv: None,
    };
    let setup = Setup::new(&prepared.application, configuration, places)?;
    let cache = Cache::open(&path_of(&code))?;
    let checked = match outcome.source {
        // Checked by the process that prepared it, with the same variables.
        Source::Unpacked if !has_more_inside => {
            Checked::before(&prepared, &outcome.codes, &cache, &settings)?
        }
        // The container's own files are checked where they are read.
        _ => app::check(&prepared, &settings, &setup)?.with_code(
            &outcome.codes,
            &cache,
            &settings,
            &setup,
        )?,
    };
    let environment = if outcome.bare {
        settings::program_environment()
    } else {
        Vec::new()
    };
    let volumes = plan.volumes.into_iter().map(|mount| skiff_host::Mount {
        guest: mount.path.to_string_lossy().into_owned(),
        host: mount.path,
        writable: mount.writable,
    });
    let delay = &mut settings.process.shutdown_delay;
    delay.get_or_insert(SHUTDOWN_DELAY_IN_POD);
    // A node's metadata service hands out its credentials to whoever asks.
    let blocked = &mut settings.network.blocked;
    blocked.get_or_insert_with(BlockedNetworks::link_local);
    let process = Process::new(&settings.process, &settings.http, settings.engine.instances)?;
    let given = Given {
        setup,
        environment,
        volumes: volumes.collect(),
        stores: Some(PathBuf::from(STORES)),
        arguments: plan.args,
        ..process.given()
    };
    let app = App::new(checked, &prepared, cache, &settings, given)?;
    process.serve(app, settings.listen_in_pod(), |_| {
        status.ready().context("cannot report to the shim")
    })
}

/// Tells the pod's owner in one line what the operator has set.
fn tell_origins(origins: &[Origin]) {
    if !origins.is_empty() {
        let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
        tracing::info!(
            "The operator of this node has defaults: {}",
            origins.join("; ")
        );
    }
}

/// The container's runtime configuration, if it has one.
fn configuration() -> anyhow::Result<Option<Configuration>> {
    let file = Path::new(RUNTIME_CONFIG);
    // One that is there and cannot be read is an error.
    match file.symlink_metadata() {
        Ok(_) => Ok(Some(Configuration::read(file)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{RUNTIME_CONFIG}`")),
    }
}

/// The application and its files as they came with the image, even if the container has
/// mounted something over them.
fn prepared(source: &Source, folder: &Path) -> anyhow::Result<Prepared> {
    Ok(match source {
        Source::Unpacked => Prepared::from_unpacked(folder)?,
        Source::RootFs {
            entrypoint,
            directory,
        } => Prepared::from_rootfs(folder, entrypoint, directory)?,
    })
}

/// A path to an open folder that is unreachable by any path of the container.
fn path_of(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

fn rename() {
    // A process that was executed from a descriptor is otherwise named after its number.
    if let Err(error) = rustix::thread::set_name(NAME) {
        eprintln!("skiff: cannot set the process's name: {error}");
    }
}
