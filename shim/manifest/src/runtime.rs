//! The runtime configuration (`runtime-config.toml`): where an application's stores,
//! databases and variables come from, and what its outbound connections may take.
//!
//! This only says what was written. Paths stay as they are, and kinds that Skiff does not
//! offer are read like all others: whoever uses a part decides about it.
//!
//! ```
//! let text = "[key_value_store.default]\ntype = 'redis'\nurl = 'redis://:pass@cache:6379'";
//! let config = skiff_manifest::runtime::read(text, "runtime-config.toml").unwrap();
//! assert!(!format!("{config:?}").contains("pass"));
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Faults, Sink};
use crate::fields::Ask;
use crate::hosts::Network;
use crate::lock::tree as json;
use crate::toml::tree;

mod defaults;
mod network;
mod read;
mod secret;
mod stores;
#[cfg(test)]
mod tests;
mod variables;

pub use defaults::{Applied, Defaults, Origin};
pub use secret::{Secret, ServiceUrl};

/// A checked runtime configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuntimeConfig {
    /// `state_dir`: where the stores called `default` lie, relative to the current folder.
    /// Empty text counts as not set.
    pub state_dir: Option<String>,
    /// `log_dir`, which Skiff does not use. Empty text counts as not set.
    pub log_dir: Option<String>,
    /// `max_instance_memory`: bytes that each memory of a guest may have, at least 1.
    pub max_instance_memory: Option<u64>,
    /// `[[variables_provider]]`, the first to be asked first.
    pub variables_providers: Vec<VariablesProvider>,
    /// `[key_value_store.<label>]`.
    pub key_value_stores: BTreeMap<String, KeyValueStore>,
    /// `[sqlite_database.<label>]`.
    pub sqlite_databases: BTreeMap<String, SqliteDatabase>,
    /// `[llm_compute]`.
    pub llm_compute: Option<LlmCompute>,
    /// `[[client_tls]]`; the first that fits a request counts.
    pub client_tls: Vec<ClientTls>,
    /// `[outbound_networking]`.
    pub outbound_networking: Option<OutboundNetworking>,
    /// `[outbound_http]`.
    pub outbound_http: Option<OutboundHttp>,
    /// `[outbound_redis]`.
    pub outbound_redis: Option<OutboundConnections>,
    /// `[outbound_pg]`.
    pub outbound_pg: Option<OutboundConnections>,
    /// `[outbound_mysql]`.
    pub outbound_mysql: Option<OutboundConnections>,
    /// `[outbound_mqtt]`.
    pub outbound_mqtt: Option<OutboundMqtt>,
}

/// One place that is asked for variables.
#[derive(Debug, Clone, PartialEq)]
pub enum VariablesProvider {
    /// Environment variables `<PREFIX>_<NAME>`, or `<NAME>` without a prefix.
    Env {
        /// `prefix`, to which a `_` is always added.
        prefix: Option<String>,
        /// `dotenv_path`: a file with more of them, which the environment overrides.
        dotenv_path: Option<String>,
    },
    /// Values in the file itself.
    Static {
        /// `values` by name.
        values: BTreeMap<String, Secret>,
    },
    /// Files in a folder, one a variable, as Kubernetes mounts a ConfigMap or a Secret.
    Files {
        /// `path` of the folder.
        path: String,
    },
    /// HashiCorp Vault with a secrets engine `kv` of version 2.
    Vault(Vault),
    /// Azure Key Vault.
    AzureKeyVault(AzureKeyVault),
}

/// `type = "vault"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Vault {
    /// `url` of the server.
    pub url: ServiceUrl,
    /// `token`.
    pub token: Secret,
    /// `mount`: where the secrets engine is mounted.
    pub mount: String,
    /// `prefix` of the secrets' paths.
    pub prefix: Option<String>,
}

/// `type = "azure_key_vault"`.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureKeyVault {
    /// `vault_url`.
    pub vault_url: ServiceUrl,
    /// `client_id`, `client_secret` and `tenant_id`; without them the pod's own identity.
    pub client: Option<AzureClient>,
    /// `authority_host`.
    pub authority_host: AzureCloud,
}

/// An Azure application and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureClient {
    /// `client_id`.
    pub client_id: String,
    /// `client_secret`.
    pub client_secret: Secret,
    /// `tenant_id`.
    pub tenant_id: String,
}

/// The Azure cloud that issues tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AzureCloud {
    /// `AzurePublicCloud`.
    #[default]
    Public,
    /// `AzureChina`.
    China,
    /// `AzureGermany`.
    Germany,
    /// `AzureGovernment`.
    Government,
}

/// `[key_value_store.<label>]`.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyValueStore {
    /// `spin`: a SQLite file relative to the configuration file's folder; without `path`
    /// in memory.
    Spin {
        /// `path`.
        path: Option<String>,
    },
    /// `redis`.
    Redis {
        /// `url`, with its password if there is one. Its path is a number, if it has one.
        url: ServiceUrl,
        /// `prefix` of the keys in the server, which only Skiff has; may be empty.
        prefix: Option<String>,
    },
    /// `postgres`, which only Skiff has.
    Postgres {
        /// `url`, with its password if there is one.
        url: ServiceUrl,
        /// `table`, if it is not named after the label; possibly with a schema before a dot.
        table: Option<String>,
    },
    /// `azure_cosmos`.
    AzureCosmos {
        /// `account`.
        account: String,
        /// `database`.
        database: String,
        /// `container`.
        container: String,
        /// `key`; without it the pod's own identity.
        key: Option<Secret>,
    },
    /// `aws_dynamo`.
    AwsDynamo {
        /// `region`.
        region: String,
        /// `table`.
        table: String,
        /// `access_key`, `secret_key` and possibly `token`; without them the pod's own
        /// identity.
        credentials: Option<AwsCredentials>,
        /// `consistent_read`.
        consistent_read: bool,
    },
}

/// A key of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsCredentials {
    /// `access_key`.
    pub access_key: Secret,
    /// `secret_key`.
    pub secret_key: Secret,
    /// `token` of a session.
    pub token: Option<Secret>,
}

/// `[sqlite_database.<label>]`.
#[derive(Debug, Clone, PartialEq)]
pub enum SqliteDatabase {
    /// `spin`: a file relative to the current folder; without `path` in memory.
    Spin {
        /// `path`.
        path: Option<String>,
        /// `allow_attach_file`.
        allow_attach_file: bool,
    },
    /// `libsql`: a server, over HTTP.
    Libsql {
        /// `url`, `http://` or `https://`.
        url: ServiceUrl,
        /// `token`.
        token: Secret,
    },
}

/// `[llm_compute]`.
#[derive(Debug, Clone, PartialEq)]
pub enum LlmCompute {
    /// `spin`: on this machine.
    Spin,
    /// `remote_http`.
    RemoteHttp {
        /// `url`.
        url: ServiceUrl,
        /// `auth_token`.
        auth_token: Secret,
        /// `api_type`.
        api: LlmApi,
    },
}

/// How a remote model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LlmApi {
    /// `default`: Spin's own.
    #[default]
    Spin,
    /// `open_ai`.
    OpenAi,
}

/// `[[client_tls]]`: certificates for outbound requests of some components to some hosts.
/// Paths are relative to the configuration file's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// `component_ids`.
    pub component_ids: BTreeSet<String>,
    /// `hosts`: names or addresses without ports, in lower case.
    pub hosts: BTreeSet<String>,
    /// `ca_use_platform_roots`.
    pub ca_use_platform_roots: Option<bool>,
    /// `ca_use_webpki_roots`.
    pub ca_use_webpki_roots: Option<bool>,
    /// `ca_roots_file`.
    pub ca_roots_file: Option<String>,
    /// `client_cert_file` and `client_private_key_file`.
    pub client: Option<ClientCertificate>,
}

/// A certificate and its key, as paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `client_cert_file`.
    pub cert_file: String,
    /// `client_private_key_file`.
    pub private_key_file: String,
}

/// `[outbound_networking]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboundNetworking {
    /// `block_networks`.
    pub block_networks: Vec<BlockedNetwork>,
    /// `max_socket_connections`.
    pub max_socket_connections: Option<usize>,
    /// `max_total_connections`.
    pub max_total_connections: Option<usize>,
}

/// One entry of `block_networks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockedNetwork {
    /// `private`: every address that is not globally routable.
    Private,
    /// A range of addresses.
    Range(Network),
}

/// `[outbound_http]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundHttp {
    /// `connection_pooling`, true unless written otherwise.
    pub connection_pooling: bool,
    /// `max_connections`. The deprecated `max_concurrent_requests` stands for one more.
    pub max_connections: Option<usize>,
}

impl Default for OutboundHttp {
    fn default() -> Self {
        OutboundHttp {
            connection_pooling: true,
            max_connections: None,
        }
    }
}

/// `[outbound_redis]`, `[outbound_pg]`, `[outbound_mysql]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboundConnections {
    /// `max_connections`.
    pub max_connections: Option<usize>,
}

/// `[outbound_mqtt]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboundMqtt {
    /// `max_connections`.
    pub max_connections: Option<usize>,
    /// `max_payload_size_bytes`.
    pub max_payload_size_bytes: Option<u64>,
}

/// Reads a runtime configuration. `file` is its name in messages.
///
/// # Errors
/// All mistakes with their line and column: unknown keys, wrong kinds of values, missing
/// ones. No message shows a value that may be secret.
pub fn read(text: &str, file: &str) -> Result<RuntimeConfig, Faults> {
    let sink = Sink::toml(file, text.as_bytes());
    let config = tree::parse(text, &sink).and_then(|root| read::config(root, &sink));
    sink.into_result(config)
}

/// Reads a file that holds nothing but values of variables, by name. It is JSON or TOML, as
/// the end of its name says.
///
/// # Errors
/// All mistakes with their line and column, without the values.
pub fn values(text: &str, file: &str) -> Result<BTreeMap<String, Secret>, Faults> {
    let (sink, root) = match file.rsplit_once('.') {
        Some((_, "json")) => {
            let sink = Sink::json(file, text.as_bytes());
            let root = json::parse(text, &sink);
            (sink, root)
        }
        Some((_, "toml")) => {
            let sink = Sink::toml(file, text.as_bytes());
            let root = tree::parse(text, &sink);
            (sink, root)
        }
        _ => {
            let sink = Sink::toml(file, text.as_bytes());
            sink.fault(0, "a file of variables must be called `.json` or `.toml`");
            (sink, None)
        }
    };
    let values = root.and_then(|root| variables::values(root, &Ask::new(&sink, "variables")));
    sink.into_result(values.map(|values| values.into_iter().collect()))
}
