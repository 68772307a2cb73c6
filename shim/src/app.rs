//! Where the parts are joined: an application is prepared (checked, composed,
//! compiled), loaded, and served or run to its end.
//!
//! An application is a value, and is given values: its listener, where it prints, its
//! environment, its part of memory and of the engines, and its stop. Nothing about it lives
//! in globals, so that one process may hold one or many. What a process does for those that
//! it holds is in [`process`](crate::process).

mod arriving;
mod check;
mod code;
mod granted;
mod grants;
mod handler;
mod load;
mod mistakes;
mod optimizer;
mod serve;
pub(crate) mod slots;
mod stop;
#[cfg(test)]
mod tests;

pub use check::{AppError, Life, Values};
pub(crate) use code::Turn;
pub use code::{CompileFailed, CompileReply, CompileRequest, Compiled, answer, compile_apart};
pub use load::{App, Given, Reserved};
pub(crate) use mistakes::with_rest;
pub use optimizer::{Optimizer, optimize};
pub use serve::Loaded;
pub use stop::{Stop, Stopper};

use std::path::Path;

use skiff_artifact::Prepared;
use skiff_engine::Cache;

use crate::settings::Settings;

/// What has to be compiled of an application, once it was checked as far as that
/// goes without its components.
///
/// # Errors
/// What is wrong with it.
pub fn request(
    prepared: &Prepared,
    settings: &Settings,
    values: &Values,
    cache: &Cache,
) -> Result<CompileRequest, AppError> {
    let application = check::application(prepared, settings, values)?;
    Ok(CompileRequest::new(prepared, &application, settings, cache))
}

/// Checks an application as far as that goes without running it, and compiles
/// what is not in the cache. The answer names the code of each component that a
/// trigger uses. `values` are the application's variables; `turn` is waited for before
/// anything that takes much memory.
///
/// # Errors
/// Everything that would stop the application from starting later.
pub(crate) fn prepare(
    prepared: &Prepared,
    settings: &Settings,
    values: &Values,
    cache: &Cache,
    turn: Turn<'_>,
) -> anyhow::Result<Compiled> {
    all_wrong(prepared, settings, values, cache.folder(), turn, || {
        compiled(prepared, settings, values, cache, turn)
    })
}

/// What `prepare` makes of an application, or everything that would stop it from
/// starting later.
///
/// # Errors
/// That of `prepare`, with what else is wrong with the application.
pub(crate) fn all_wrong<T>(
    prepared: &Prepared,
    settings: &Settings,
    values: &Values,
    cache_dir: &Path,
    turn: Turn<'_>,
    prepare: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    prepare()
        .map_err(|error| mistakes::with_others(error, prepared, settings, values, cache_dir, turn))
}

fn compiled(
    prepared: &Prepared,
    settings: &Settings,
    values: &Values,
    cache: &Cache,
    turn: Turn<'_>,
) -> anyhow::Result<Compiled> {
    let application = check::application(prepared, settings, values)?;
    let request = CompileRequest::new(prepared, &application, settings, cache);
    let (facts, optimize) = code::compile(&request, cache, turn)?;
    check::facts(&application, settings, values, &facts)?;
    Ok(Compiled {
        codes: code::digests(facts),
        optimize: optimize.then_some(request),
    })
}
