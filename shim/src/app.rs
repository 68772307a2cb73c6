//! Where the parts are joined: an application is prepared (checked, composed,
//! compiled), loaded, and served or run to its end.
//!
//! An application is a value. Nothing about it lives in globals or in the
//! environment, so that one process may hold one or many.

mod check;
mod code;
mod handler;
mod load;
mod mistakes;
mod pod;
mod serve;
mod watchdog;
mod workers;

pub use check::{AppError, Values};
pub use code::{CompileReply, CompileRequest, answer, compile_apart, optimize};
pub use load::{App, Extras};
pub use mistakes::with_rest;
pub use serve::{Serving, serve};
pub use workers::LostWorker;

use std::collections::BTreeMap;
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
    cache_dir: &Path,
) -> Result<CompileRequest, AppError> {
    let application = check::application(prepared, settings, values)?;
    Ok(CompileRequest::new(
        prepared,
        &application,
        settings,
        cache_dir,
    ))
}

/// Checks an application as far as that goes without running it, and compiles
/// what is not in the cache. The answer names the code of each component that a
/// trigger uses. `values` are the application's variables.
///
/// # Errors
/// Everything that would stop the application from starting later.
pub fn prepare(
    prepared: &Prepared,
    settings: &Settings,
    values: &Values,
    cache_dir: &Path,
) -> anyhow::Result<BTreeMap<String, String>> {
    all_wrong(prepared, settings, values, cache_dir, || {
        compiled(prepared, settings, values, cache_dir)
    })
}

/// What `prepare` makes of an application, or everything that would stop it from
/// starting later.
///
/// # Errors
/// That of `prepare`, with what else is wrong with the application.
pub fn all_wrong<T>(
    prepared: &Prepared,
    settings: &Settings,
    values: &Values,
    cache_dir: &Path,
    prepare: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    prepare().map_err(|error| mistakes::with_others(error, prepared, settings, values, cache_dir))
}

fn compiled(
    prepared: &Prepared,
    settings: &Settings,
    values: &Values,
    cache_dir: &Path,
) -> anyhow::Result<BTreeMap<String, String>> {
    let cache = Cache::open(cache_dir)?;
    let application = check::application(prepared, settings, values)?;
    let request = CompileRequest::new(prepared, &application, settings, cache_dir);
    let facts = code::compile(&request, &cache)?;
    check::facts(&application, &facts)?;
    Ok(facts
        .into_iter()
        .map(|(id, facts)| (id, facts.digest))
        .collect())
}
