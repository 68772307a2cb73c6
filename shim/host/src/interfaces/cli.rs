//! `wasi:cli`: a guest's arguments, environment and standard streams, implemented by
//! `wasmtime-wasi`.

use wasmtime_wasi::WasiCtxBuilder;

use crate::Output;

/// A component's process environment.
#[derive(Debug, Clone)]
pub struct Cli {
    /// Arguments; empty for HTTP.
    pub arguments: Vec<String>,
    /// The guest's environment: the manifest's, never Skiff's own.
    pub environment: Vec<(String, String)>,
    /// Whether it reads Skiff's standard input; commands do.
    pub stdin: bool,
    /// Where its standard output goes.
    pub stdout: Output,
    /// Where its standard error goes.
    pub stderr: Output,
}

impl Default for Cli {
    /// Nothing; output is discarded.
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
    /// Applies the grant.
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
