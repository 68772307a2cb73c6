//! The interface of every trigger, and how the triggers of an application are served
//! together.
//!
//! A trigger of the manifest is checked before anything starts ([`Trigger::prepare`]),
//! serves until it is asked to stop, reports when it is ready, and then finishes the work
//! it has accepted ([`Trigger::serve`]). It runs in every worker of an application or only
//! in the first ([`Runs`]). [`Triggers`] serves all triggers of one worker, and [`Health`]
//! is the application's answer to health checks.
//!
//! This crate knows no protocol, neither what a trigger accepts nor what happens with it.

mod health;
mod trigger;
mod triggers;

pub use health::{Health, State};
pub use trigger::{DrainOutcome, Run, Runs, Trigger};
pub use triggers::{ServeError, Triggers};

/// Why a trigger has failed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
