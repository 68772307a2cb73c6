//! Running a component to its end.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use skiff_engine::Clock;

use super::output;
use super::serve::{LAST_LINES, Serving, runtime};
use super::signals::Signals;
use super::watchdog::Watchdog;
use crate::app::App;
use crate::exit::ExitCode;

/// Runs a component of `app`; returns its exit code.
pub(super) fn run(
    app: &App,
    component: &str,
    ready: impl FnOnce(Serving) -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let command = app.command(app.reserve()?, component)?;
    let _clock = Clock::start().context("cannot start the clock")?;
    output::start_queueing();
    Watchdog::start(Duration::ZERO)?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        ready(Serving {
            address: None,
            routes: Vec::new(),
        })?;
        let run = async {
            let code = command.run().await.unwrap_or_else(|error| {
                tracing::error!(%error, "Component failed");
                ExitCode::Trapped.number()
            });
            // A program's last write also waits for a slow reader.
            output::stdout().flushed().await;
            output::stderr().flushed().await;
            match code {
                0 => lost_output().map_or(0, ExitCode::number),
                code => code,
            }
        };
        tokio::select! {
            code = run => Ok(code),
            // A program without a handler ends by the signal.
            number = signals.next() => Ok(128 + number),
        }
    });
    // Do not wait for calls that block in the kernel.
    runtime.shutdown_background();
    output::flush(LAST_LINES);
    result
}

/// A command whose output was lost did not succeed, even if it could not know. A reader
/// that left early is not reported, as it wanted no more.
fn lost_output() -> Option<ExitCode> {
    let outputs = [
        ("standard output", output::stdout()),
        ("standard error", output::stderr()),
    ];
    let mut lost = None;
    for (name, printed) in outputs {
        let failure = printed.failure();
        if let Some(error) = failure.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            tracing::error!(%error, "Cannot write what the component printed to {name}");
            lost = Some(ExitCode::State);
        }
    }
    lost
}
