//! What must hold, a module for each subject.

mod churn;
mod deployed;
mod endings;
mod explained;
mod figures;
mod installed;
mod kills;
mod metrics;
mod pods;
mod restarts;
mod rolling;

use crate::harness::Case;

/// All cases, in the order in which a reader would want them to fail.
pub(crate) fn all() -> Vec<Case> {
    [
        pods::cases(),
        explained::cases(),
        restarts::cases(),
        endings::cases(),
        deployed::cases(),
        metrics::cases(),
        rolling::cases(),
        figures::cases(),
        kills::cases(),
        churn::cases(),
        installed::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
