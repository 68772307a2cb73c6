//! Waiting for something to become true, with a deadline and a reason.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How often a wait looks again. Each look is a program that costs a tenth of
/// a second of processor time.
const AGAIN: Duration = Duration::from_millis(250);

/// What one look saw.
#[derive(Debug)]
pub(crate) enum Look<T> {
    /// It is so.
    Yes(T),
    /// Not yet, and what is there instead.
    NotYet(String),
}

impl Look<()> {
    /// Looks whether something holds; `seen` tells what is there.
    pub(crate) fn at(holds: bool, seen: impl std::fmt::Display) -> Self {
        if holds {
            Self::Yes(())
        } else {
            Self::NotYet(seen.to_string())
        }
    }
}

/// Looks again and again until it is so. A look that fails counts as one that
/// saw its error.
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
