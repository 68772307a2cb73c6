//! The kinds of grants that a component can have.

/// A kind of grant: a field of a component in the manifest, whose name is also used to
/// let its dependencies inherit it (`inherit_configuration`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Large language models.
    AiModels,
    /// Hosts that it may connect to.
    AllowedOutboundHosts,
    /// Its environment.
    Environment,
    /// Folders and files.
    Files,
    /// Key-value stores.
    KeyValueStores,
    /// Databases: SQLite and database servers.
    SqliteDatabases,
    /// Variables.
    Variables,
}

impl Capability {
    /// All of them.
    pub const ALL: [Capability; 7] = [
        Capability::AiModels,
        Capability::AllowedOutboundHosts,
        Capability::Environment,
        Capability::Files,
        Capability::KeyValueStores,
        Capability::SqliteDatabases,
        Capability::Variables,
    ];

    /// Its key in manifests.
    pub const fn key(self) -> &'static str {
        match self {
            Capability::AiModels => "ai_models",
            Capability::AllowedOutboundHosts => "allowed_outbound_hosts",
            Capability::Environment => "environment",
            Capability::Files => "files",
            Capability::KeyValueStores => "key_value_stores",
            Capability::SqliteDatabases => "sqlite_databases",
            Capability::Variables => "variables",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error for a manifest with a component that has this field.
    fn with(field: &str) -> String {
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[component.c]\nsource = \"c.wasm\"\n{field} = 5\n"
        );
        let faults = crate::toml::read(&text, "spin.toml").unwrap_err();
        faults.to_string()
    }

    #[test]
    fn each_is_a_field_of_a_component() {
        assert!(with("of_nobody").contains("is not a known field"));
        for capability in Capability::ALL {
            let fault = with(capability.key());
            assert!(fault.contains("must be"), "{fault}");
        }
    }
}
