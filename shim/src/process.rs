//! The process that applications run in, apart from the applications.

mod logging;
pub mod output;
mod settings;

pub use logging::{LogLevel, start_logging};
pub use settings::{SHUTDOWN_DELAY_IN_POD, Settings};
