//! The locked application: the JSON in artifacts, versions 0 and 1.

mod content;
mod metadata;
mod read;
pub(crate) mod tree;
mod write;

pub use read::read;
pub use write::write;

/// The host requirements that Skiff meets.
const SUPPORTED_REQUIREMENTS: [&str; 2] = [SERVICE_CHAINING, MIDDLEWARE];
const SERVICE_CHAINING: &str = "local_service_chaining";
const MIDDLEWARE: &str = "middleware";

/// The value of a requirement that a host need not meet.
const OPTIONAL: &str = "optional";
const REQUIRED: &str = "required";

/// Names that a host must understand, so that old hosts refuse new applications.
const UNDERSTOOD: [&str; 2] = ["host_requirements", COMPONENT_REQUIREMENTS];
const COMPONENT_REQUIREMENTS: &str = "component_host_requirements";

/// The newest version of the format, and its identical predecessor.
const VERSIONS: [u64; 2] = [0, 1];

/// The media type of every component.
const WASM: &str = "application/wasm";

/// The component metadata with the trigger type that composes the component.
const COMPOSED_BY: &str = "resolve-trigger-dependencies-using";
