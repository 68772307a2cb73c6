//! What every trigger fulfils, and how those of one application are served together.
//!
//! A trigger of the manifest is checked before anything starts ([`Trigger::prepare`]),
//! serves until it is told to stop, says when it is ready, and then finishes what it has
//! taken ([`Trigger::serve`]). It runs in every worker of an application or only in the
//! first ([`Runs`]). [`Triggers`] serves all of one worker, and [`Health`] is what the
//! application answers when it is asked how it is.
//!
//! This crate knows no protocol: it cannot tell what a trigger takes, nor what is done
//! with it.

mod health;
mod trigger;
mod triggers;

pub use health::{Health, State};
pub use trigger::{DrainOutcome, Run, Runs, Trigger};
pub use triggers::{ServeError, Triggers};

/// Why a trigger has failed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
