//! Applications in pods: preparing one when containerd creates its container, and serving
//! it in the container's own process. The task service ([`skiff_task`]) handles
//! containerd's calls and the containers; it runs this program again for both steps.

use std::process::ExitCode as ProcessCode;

use anyhow::{Context, anyhow};
use serde::Deserialize;
use serde_json::Value;
use skiff_task::{Assistant, Failure, Program};

use crate::app::{CompileRequest, Optimizer};
use crate::exit::{ExitCode, told};
use crate::settings::{NodeSettings, environment};

mod applied;
mod outcome;
mod prepare;
mod serve;

pub use applied::describe as describe_applied;
pub use prepare::main as prepare_main;
pub use serve::main as serve_main;
pub use skiff_task::is_called;

/// An application's runtime configuration in its container.
const RUNTIME_CONFIG: &str = "/runtime-config.toml";

/// Where a pod keeps its stores unless a volume is named: in the container's own files,
/// which end with it.
const STORES: &str = "/.skiff";

/// What the task service needs to know about this program.
static PROGRAM: Program = Program {
    version: version_text,
    prepare: &["skiff", "internal", "prepare"],
    serve: &["skiff", "internal", "serve"],
    settings: node_settings,
    assist: optimize,
    message: told,
};

/// The shim. containerd calls it with `start`, `delete` or no subcommand; a person may
/// ask for its version.
pub fn main() -> ProcessCode {
    match skiff_task::main(&PROGRAM) {
        Ok(()) => ExitCode::Success.into(),
        Err(Failure::Flags(error)) => {
            eprintln!("{error}");
            ExitCode::Usage.into()
        }
        Err(Failure::Answer(_)) => ExitCode::Internal.into(),
    }
}

/// Version, revision and wasmtime, as `--version` of both names prints them.
pub fn version_text() -> String {
    format!(
        "{}\n  Version: {}\n  Revision: {}\n  Wasmtime: {}\n",
        skiff_task::RUNTIME,
        env!("CARGO_PKG_VERSION"),
        skiff_task::revision(),
        skiff_engine::version(),
    )
}

fn node_settings() -> anyhow::Result<Value> {
    let settings = NodeSettings::read(environment)?;
    serde_json::to_value(settings).context("cannot write the node's settings")
}

/// Starts the optimiser; if that fails, the existing code stays in use.
fn optimize(request: &Value) -> anyhow::Result<Assistant> {
    let start = || -> anyhow::Result<Assistant> {
        let request = CompileRequest::deserialize(request).context("cannot read the request")?;
        Ok(Box::new(Optimizer::start(&request)?))
    };
    start().map_err(|error| anyhow!("{error:#}; baseline code stays in use"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_wasmtime() {
        let text = version_text();
        assert!(text.contains("Version: 0."), "{text}");
        assert!(text.contains("Wasmtime: 48."), "{text}");
    }
}
