//! The cases, a module for each subject.

mod churn;
mod defaults;
mod deployed;
mod endings;
mod explained;
mod figures;
mod installed;
mod kills;
mod metrics;
mod operators;
mod pods;
mod restarts;
mod rolling;

use crate::harness::Case;

/// All cases, the most basic first.
pub(crate) fn all() -> Vec<Case> {
    [
        pods::cases(),
        explained::cases(),
        restarts::cases(),
        endings::cases(),
        deployed::cases(),
        metrics::cases(),
        operators::cases(),
        rolling::cases(),
        defaults::cases(),
        figures::cases(),
        kills::cases(),
        churn::cases(),
        installed::cases(),
        operators::cases_without_the_chart(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
