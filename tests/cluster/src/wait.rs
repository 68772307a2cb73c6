//! Waiting for something to become true, with a deadline and a reason.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How often a wait polls. Each poll runs a program that costs a tenth of a second of
/// processor time.
const AGAIN: Duration = Duration::from_millis(250);

/// The result of one poll.
#[derive(Debug)]
pub(crate) enum Look<T> {
    /// It holds.
    Yes(T),
    /// Not yet, with what was seen instead.
    NotYet(String),
}

impl Look<()> {
    /// Checks whether something holds; `seen` describes what was seen.
    pub(crate) fn at(holds: bool, seen: impl std::fmt::Display) -> Self {
        if holds {
            Self::Yes(())
        } else {
            Self::NotYet(seen.to_string())
        }
    }
}

/// Polls until it holds. A failed poll counts as having seen its error.
///
/// # Errors
///
/// After `limit`, with what was seen last.
pub(crate) async fn wait_until<T, F, R>(
    what: &str,
    limit: Duration,
    mut look: F,
) -> anyhow::Result<T>
where
    F: FnMut() -> R,
    R: Future<Output = anyhow::Result<Look<T>>>,
{
    let began = Instant::now();
    loop {
        let seen = match look().await {
            Ok(Look::Yes(value)) => return Ok(value),
            Ok(Look::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if began.elapsed() > limit {
            bail!(
                "{what}: not within {} s; last seen: {seen}",
                limit.as_secs()
            );
        }
        tokio::time::sleep(AGAIN).await;
    }
}
