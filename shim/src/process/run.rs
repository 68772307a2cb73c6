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

/// Runs a component of `app`; the answer is its exit code.
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
            // As a program's last write waits for a slow reader.
            output::stdout().flushed().await;
            output::stderr().flushed().await;
            match code {
                0 => lost_output().map_or(0, ExitCode::number),
                code => code,
            }
        };
        tokio::select! {
            code = run => Ok(code),
            // A program that does not handle the signal ends by it.
            number = signals.next() => Ok(128 + number),
        }
    });
    // A call that waits in the kernel is not waited for.
    runtime.shutdown_background();
    output::flush(LAST_LINES);
    result
}

/// A command that has ended well has not where what it printed is lost: it only could
/// not know. A reader that has left is told by nobody, as it wanted no more.
fn lost_output() -> Option<ExitCode> {
    let outputs = [
        ("standard output", output::stdout()),
        ("standard error", output::stderr()),
    ];
    let mut lost = None;
    for (name, printed) in outputs {
        let failure = printed.failure();
        if let Some(error) = failure.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            tracing::error!(%error, "What the component printed to {name} cannot be written");
            lost = Some(ExitCode::State);
        }
    }
    lost
}
