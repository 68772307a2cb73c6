//! What one component is granted, checked before the application starts.

use std::sync::Arc;

use skiff_engine::MemoryLimit;

use crate::{Cli, Databases, Filesystem, KeyValue, Outbound, Sockets, Variables};

/// Everything a component may access, interface by interface. Anything else is denied.
#[derive(Debug, Clone)]
pub struct Grants {
    /// The component's id, for logs and errors.
    pub component: Arc<str>,
    /// How much memory it may take.
    pub memory: MemoryLimit,
    /// Arguments, environment and standard streams.
    pub cli: Cli,
    /// Folders.
    pub filesystem: Filesystem,
    /// Where it may send HTTP requests.
    pub outbound: Outbound,
    /// Key-value stores.
    pub key_value: KeyValue,
    /// SQLite databases.
    pub databases: Databases,
    /// Addresses it may connect to.
    pub sockets: Sockets,
    /// The component's variables.
    pub variables: Variables,
}

impl Grants {
    /// No grants; output is discarded.
    pub fn none(component: &str) -> Self {
        let component: Arc<str> = component.into();
        Grants {
            outbound: Outbound::none(&component),
            component,
            memory: MemoryLimit::default(),
            cli: Cli::default(),
            filesystem: Filesystem::default(),
            key_value: KeyValue::default(),
            databases: Databases::default(),
            sockets: Sockets::default(),
            variables: Variables::default(),
        }
    }
}
