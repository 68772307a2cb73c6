//! `wasi:cli`: a guest's arguments, environment and standard streams, as `wasmtime-wasi`
//! serves them.

use wasmtime_wasi::WasiCtxBuilder;

use crate::Output;

/// What a component has of its process.
#[derive(Debug, Clone)]
pub struct Cli {
    /// Arguments; empty for HTTP.
    pub arguments: Vec<String>,
    /// The guest's environment: the manifest's, never ours.
    pub environment: Vec<(String, String)>,
    /// Whether it reads our standard input; commands do.
    pub stdin: bool,
    /// Where its standard output goes.
    pub stdout: Output,
    /// Where its standard error goes.
    pub stderr: Output,
}

impl Default for Cli {
    /// Nothing; what it prints goes nowhere.
    fn default() -> Self {
        Cli {
            arguments: Vec::new(),
            environment: Vec::new(),
            stdin: false,
            stdout: Output::nowhere(),
            stderr: Output::nowhere(),
        }
    }
}

impl Cli {
    /// Opens what is granted.
    pub(super) fn open(&self, builder: &mut WasiCtxBuilder) {
        builder
            .stdout(self.stdout.clone())
            .stderr(self.stderr.clone())
            .args(&self.arguments)
            .envs(&self.environment);
        if self.stdin {
            builder.inherit_stdin();
        }
    }
}
