//! The locked application: the JSON that artifacts carry, versions 0 and 1.

mod content;
mod metadata;
mod read;
mod tree;
mod write;

pub use read::read;
pub use write::write;

/// The host requirements Skiff meets.
const SUPPORTED_REQUIREMENTS: [&str; 2] = [SERVICE_CHAINING, MIDDLEWARE];
const SERVICE_CHAINING: &str = "local_service_chaining";
const MIDDLEWARE: &str = "middleware";

/// The value of a requirement that a host may leave unmet.
const OPTIONAL: &str = "optional";
const REQUIRED: &str = "required";

/// What a host must not ignore, so that old ones refuse new applications.
const UNDERSTOOD: [&str; 2] = ["host_requirements", COMPONENT_REQUIREMENTS];
const COMPONENT_REQUIREMENTS: &str = "component_host_requirements";

/// The newest version of the format, and the one before it, which is the same.
const VERSIONS: [u64; 2] = [0, 1];

/// The media type of every component.
const WASM: &str = "application/wasm";

/// The component metadata that tells the trigger type that composes it.
const COMPOSED_BY: &str = "resolve-trigger-dependencies-using";
