//! The comparisons: every program and server on the same inputs, including known faults
//! of toolchains, which Skiff must neither hide nor make worse; and what SDKs make of an
//! application's variables, state and requests.

mod applications;
mod inputs;
mod programs;
mod servers;

use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

use crate::workshop::Workshop;

/// All cases, named `<guest>::<what>`.
pub(crate) fn all(workshop: Arc<Workshop>) -> Vec<Trial> {
    let mut trials = programs::trials(&workshop);
    trials.extend(servers::trials(&workshop));
    trials.extend(applications::trials(&workshop));
    trials
}

/// Fails if the programs differ, or if both differ from the expected result: a comparison
/// of two empty outputs would prove nothing.
fn compare<T: PartialEq + std::fmt::Debug>(
    skiff: &T,
    wasmtime: Option<&T>,
    right: Option<&T>,
    said: &str,
) -> Result<(), Failed> {
    let differs = wasmtime.is_some_and(|wasmtime| wasmtime != skiff);
    let wrong = right.is_some_and(|right| right != skiff || wasmtime.is_some_and(|w| w != right));
    if !differs && !wrong {
        return Ok(());
    }
    let mut text = format!("skiff:    {skiff:?}\n");
    if let Some(wasmtime) = wasmtime {
        text.push_str(&format!("wasmtime: {wasmtime:?}\n"));
    }
    if let Some(right) = right {
        text.push_str(&format!("right is: {right:?}\n"));
    }
    text.push_str(said);
    Err(text.into())
}
