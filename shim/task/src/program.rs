//! The program that uses this crate, as far as the task service needs to know it.

use serde_json::Value;

/// Background work for an application while its container runs; it ends when this is
/// dropped.
pub type Assistant = Box<dyn Send>;

/// The program that prepares and serves applications: the file that the shim itself is
/// executed from. Only the program knows what an application is and how it is served.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// What `--version` prints.
    pub version: fn() -> String,
    /// Name and arguments of the process that prepares an application. It reads a
    /// [`Request`](crate::application::Request) from its standard input, and writes an
    /// [`Answer`](crate::application::Answer) to its standard output.
    pub prepare: &'static [&'static str],
    /// Name and arguments of the process that serves an application. It begins with
    /// [`Status::take`](crate::application::Status::take).
    pub serve: &'static [&'static str],
    /// Reads the node administrator's settings from containerd's environment. They are
    /// sent with every request. An error makes the container's creation fail.
    pub settings: fn() -> anyhow::Result<Value>,
    /// Starts the background work that an answer asks for. An error is logged, and the
    /// application continues.
    pub assist: fn(&Value) -> anyhow::Result<Assistant>,
    /// The text of a failure for the container's owner: without control characters, even
    /// if an artifact's names contain them, and of limited length.
    pub message: fn(&anyhow::Error) -> String,
}
