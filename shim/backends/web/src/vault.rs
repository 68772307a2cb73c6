//! HashiCorp Vault, secrets engine `kv` of version 2.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use skiff_host::{Asking, ProviderError, VariablesProvider};
use skiff_manifest::VariableName;
use skiff_manifest::runtime::Vault;
use ureq::http::Request;

use crate::Client;

/// The field of a secret that has the variable's value.
const FIELD: &str = "value";

/// Variables in Vault: `db_pass` is the field `value` of the secret `[<prefix>/]db_pass`.
pub struct VaultSecrets(Arc<Inner>);

struct Inner {
    client: Client,
    vault: Vault,
    /// The server, for messages.
    name: String,
}

impl VaultSecrets {
    /// Nothing is asked yet.
    pub fn new(client: Client, vault: Vault) -> Self {
        let name = format!("Vault `{}`", vault.url);
        VaultSecrets(Arc::new(Inner {
            client,
            vault,
            name,
        }))
    }
}

impl fmt::Debug for VaultSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl VariablesProvider for VaultSecrets {
    fn ask<'a>(&'a self, name: &'a VariableName) -> Asking<'a> {
        let (inner, name) = (Arc::clone(&self.0), name.to_string());
        Box::pin(apart(move || inner.ask(&name)))
    }
}

/// Asks on a thread that may wait.
pub(crate) async fn apart(
    ask: impl FnOnce() -> Result<Option<String>, ProviderError> + Send + 'static,
) -> Result<Option<String>, ProviderError> {
    let asked = tokio::task::spawn_blocking(ask).await;
    asked.unwrap_or_else(|error| Err(ProviderError(error.to_string())))
}

impl Inner {
    fn ask(&self, name: &str) -> Result<Option<String>, ProviderError> {
        let Inner {
            client,
            vault,
            name: server,
        } = self;
        let prefix = vault.prefix.as_ref().map(|prefix| format!("{prefix}/"));
        let path = format!("{}{name}", prefix.unwrap_or_default());
        // Shown, a URL has neither user nor password.
        let base = vault.url.to_string();
        let base = base.trim_end_matches('/');
        let url = format!("{base}/v1/{}/data/{path}", vault.mount);
        let request = Request::get(url)
            .header("X-Vault-Token", vault.token.expose())
            .body(())
            .map_err(|_| ProviderError(format!("{server}: its token cannot be sent")))?;
        let Some(answer) = client.json(request, server)? else {
            return Ok(None);
        };
        match answer
            .pointer("/data/data")
            .and_then(|data| data.get(FIELD))
        {
            Some(Value::String(value)) => Ok(Some(value.clone())),
            Some(_) => Err(ProviderError(format!(
                "{server}: the field `{FIELD}` of secret `{path}` is not a string"
            ))),
            None => Err(ProviderError(format!(
                "{server}: secret `{path}` has no field `{FIELD}`"
            ))),
        }
    }
}
