//! Reports everything that is wrong with an application at once, so that a person can fix
//! the manifest, a variable and two components in one go instead of starting it four
//! times.
//!
//! This search only runs after a failure, so that it does not slow down a normal start.

use std::path::Path;

use anyhow::Error;
use skiff_artifact::{Mistakes, PrepareError, Prepared};
use skiff_engine::Cache;

use super::check::{self, AppError};
use super::code::{CompileRequest, Turn};
use super::variables::Setup;
use crate::exit::{ExitCode, code_of};
use crate::settings::Settings;

/// Adds everything else that would stop the application from starting to a failure.
pub(super) fn with_others(
    error: Error,
    prepared: &Prepared,
    settings: &Settings,
    setup: &Setup,
    cache_dir: &Path,
    turn: Turn<'_>,
) -> Error {
    // A disk or a setting is at fault, not the application.
    if !matches!(code_of(&error), ExitCode::Application) {
        return error;
    }
    let own = match mistakes(&error) {
        Some(mistakes) => mistakes.lines(),
        None => format!("{error:#}").lines().map(str::to_owned).collect(),
    };
    let whole = mistakes(&error).is_none_or(|mistakes| !mistakes.of_manifest());
    let mut all = own.clone();
    for line in others(prepared, whole, settings, setup, cache_dir, turn) {
        if !all.contains(&line) {
            all.push(line);
        }
    }
    match all == own {
        true => error,
        false => AppError::Wrong(all).into(),
    }
}

/// The same if components could not even be prepared.
pub(crate) fn with_rest(
    error: Error,
    settings: &Settings,
    setup: impl FnOnce(&Prepared) -> Setup,
    cache_dir: &Path,
    turn: Turn<'_>,
) -> Error {
    let Some(rest) = mistakes(&error).map(|mistakes| mistakes.rest.clone()) else {
        return error;
    };
    let setup = setup(&rest);
    with_others(error, &rest, settings, &setup, cache_dir, turn)
}

fn mistakes(error: &Error) -> Option<&Mistakes> {
    error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<PrepareError>()? {
            PrepareError::Components(mistakes) => Some(&**mistakes),
            _ => None,
        })
}

/// Everything that can be found without compiling. If the manifest could not be read as a
/// `whole`, things that may be missing only for that reason are not reported.
fn others(
    prepared: &Prepared,
    whole: bool,
    settings: &Settings,
    setup: &Setup,
    cache_dir: &Path,
    turn: Turn<'_>,
) -> Vec<String> {
    let application = match check::retained(prepared, settings) {
        Ok(application) => application,
        Err(error) if whole => return lines(error),
        Err(_) => return Vec::new(),
    };
    let nothing_runs = check::nothing_runs(&application).filter(|_| whole);
    let mut all = Vec::from_iter(nothing_runs);
    all.extend(check::mistakes(&application, setup));
    let Ok(cache) = Cache::open(cache_dir) else {
        return all;
    };
    let request = CompileRequest::new(prepared, &application, settings, &cache);
    let (facts, wrong) = request.facts(&cache, turn);
    let facts = check::facts(&application, settings, setup, &facts);
    all.extend(facts.err().map(lines).unwrap_or_default());
    all.extend(wrong);
    all
}

fn lines(error: AppError) -> Vec<String> {
    match error {
        AppError::Wrong(lines) => lines,
        AppError::Load(error) => vec![error.to_string()],
    }
}
