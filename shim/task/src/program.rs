//! The program that this crate is a part of, as far as the task service has to know it.

use serde_json::Value;

/// What works on for an application while its container runs; it ends when this is
/// dropped.
pub type Assistant = Box<dyn Send>;

/// The program that prepares and serves applications: the file that the shim itself is
/// executed from. What an application is, and how it is served, is the program's alone.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// What `--version` prints.
    pub version: fn() -> String,
    /// Name and arguments of the process that prepares an application. It reads a
    /// [`Request`](crate::application::Request) on its standard input, and writes an
    /// [`Answer`](crate::application::Answer) to its standard output.
    pub prepare: &'static [&'static str],
    /// Name and arguments of the process that serves an application. It begins with
    /// [`Status::take`](crate::application::Status::take).
    pub serve: &'static [&'static str],
    /// What the node's administrator has set in containerd's environment, which comes
    /// with every request. An error is one of the container's creation.
    pub settings: fn() -> anyhow::Result<Value>,
    /// Starts what an answer asks for beside the application. An error is logged, and the
    /// application goes on.
    pub assist: fn(&Value) -> anyhow::Result<Assistant>,
    /// The text of a failure, for the container's owner: without control characters,
    /// whatever names an artifact has put into it, and of a limited length.
    pub message: fn(&anyhow::Error) -> String,
}
