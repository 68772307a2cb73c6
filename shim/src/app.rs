//! Preparing an application (checking, composing, compiling), loading it, and serving it
//! or running it to its end.
//!
//! An application is a value that receives its listener, outputs, environment, its part
//! of the memory and engines, and its stop. It uses no globals, so one process may hold
//! one application or many. What a process does for all its applications is in
//! [`process`](crate::process).

mod arriving;
mod check;
mod code;
mod configuration;
mod downloads;
mod granted;
mod grants;
mod handler;
mod load;
mod mistakes;
mod network;
mod optimizer;
mod serve;
pub(crate) mod slots;
mod stop;
mod stores;
#[cfg(test)]
mod tests;
mod variables;

pub use check::{AppError, Checked, Life, Sound, Values, application as check};
pub(crate) use code::Turn;
pub use code::{CompileFailed, CompileReply, CompileRequest, Compiled, answer, compile_apart};
pub use configuration::Configuration;
pub(crate) use configuration::{MOST_BYTES, read_text};
pub use downloads::fetch;
pub(crate) use granted::capability;
pub use load::{App, Given, Reserved};
pub(crate) use mistakes::with_rest;
pub use optimizer::{Optimizer, optimize};
pub use serve::Loaded;
pub use stop::{Stop, Stopper};
pub(crate) use stores::keeps_default;
pub use variables::{Places, Setup, from_argument};

use std::path::Path;

use skiff_artifact::Prepared;
use skiff_engine::Cache;

use crate::settings::Settings;

/// The parts of an application that have to be compiled.
pub fn request(
    prepared: &Prepared,
    sound: &Sound,
    settings: &Settings,
    cache: &Cache,
) -> CompileRequest {
    CompileRequest::new(prepared, sound.application(), settings, cache)
}

/// Checks an application as far as possible without running it, and compiles what is not
/// in the cache. Returns the keys of the code of each component that a trigger uses.
/// `turn` is called before anything that takes much memory.
///
/// # Errors
/// Everything that would stop the application from starting later.
pub(crate) fn prepare(
    prepared: &Prepared,
    settings: &Settings,
    setup: &Setup,
    cache: &Cache,
    turn: Turn<'_>,
) -> anyhow::Result<Compiled> {
    all_wrong(prepared, settings, setup, cache.folder(), turn, || {
        compiled(prepared, settings, setup, cache, turn)
    })
}

/// The result of `prepare`, or everything that would stop the application from starting
/// later.
///
/// # Errors
/// The error of `prepare`, together with everything else that is wrong with the
/// application.
pub(crate) fn all_wrong<T>(
    prepared: &Prepared,
    settings: &Settings,
    setup: &Setup,
    cache_dir: &Path,
    turn: Turn<'_>,
    prepare: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    prepare()
        .map_err(|error| mistakes::with_others(error, prepared, settings, setup, cache_dir, turn))
}

fn compiled(
    prepared: &Prepared,
    settings: &Settings,
    setup: &Setup,
    cache: &Cache,
    turn: Turn<'_>,
) -> anyhow::Result<Compiled> {
    let sound = check::application(prepared, settings, setup)?;
    let request = request(prepared, &sound, settings, cache);
    let (facts, optimize) = code::compile(&request, cache, turn)?;
    check::facts(sound.application(), settings, setup, &facts)?;
    Ok(Compiled {
        codes: code::digests(facts),
        optimize: optimize.then_some(request),
    })
}
