//! Azure Key Vault.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use skiff_host::{Asking, ProviderError, VariablesProvider};
use skiff_manifest::VariableName;
use skiff_manifest::runtime::{AzureClient, AzureCloud, AzureKeyVault, Secret, ServiceUrl};
use ureq::http::Request;
use url::form_urlencoded::Serializer;

use crate::Client;
use crate::vault::apart;

/// The version of Key Vault's interface.
const API: &str = "7.4";

/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(60);

/// Variables in Azure Key Vault: `db_pass` is the secret `db-pass`, as names of secrets have
/// no `_`.
pub struct AzureSecrets(Arc<Inner>);

struct Inner {
    client: Client,
    vault: ServiceUrl,
    identity: Identity,
    /// Where tokens are asked for, and what for.
    authority: String,
    scope: &'static str,
    /// The server, for messages.
    name: String,
    /// A token and its end.
    token: Mutex<Option<(Secret, Instant)>>,
}

/// How Skiff proves to Azure who it is.
#[derive(Debug, Clone)]
pub enum Identity {
    /// With the secret of an application.
    Secret(AzureClient),
    /// With a token that the cluster has mounted (workload identity).
    Workload {
        /// `AZURE_CLIENT_ID`.
        client_id: String,
        /// `AZURE_TENANT_ID`.
        tenant_id: String,
        /// `AZURE_FEDERATED_TOKEN_FILE`, which is read for each token.
        token_file: PathBuf,
        /// `AZURE_AUTHORITY_HOST`, if it is set: the server for tokens.
        authority: Option<String>,
    },
}

/// A pod without an identity.
#[derive(Debug, thiserror::Error)]
#[error(
    "azure_key_vault needs `client_id`, `client_secret` and `tenant_id`, or workload identity, and `{missing}` is not set in the environment; the managed identity of a node is not offered"
)]
pub struct AzureError {
    missing: &'static str,
}

impl Identity {
    /// The configured identity, else the one of the pod's environment.
    ///
    /// # Errors
    /// If there is neither.
    pub fn new(
        configured: Option<AzureClient>,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, AzureError> {
        if let Some(client) = configured {
            return Ok(Identity::Secret(client));
        }
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let var = |missing| set(missing).ok_or(AzureError { missing });
        Ok(Identity::Workload {
            client_id: var("AZURE_CLIENT_ID")?,
            tenant_id: var("AZURE_TENANT_ID")?,
            token_file: var("AZURE_FEDERATED_TOKEN_FILE")?.into(),
            authority: set("AZURE_AUTHORITY_HOST"),
        })
    }
}

impl AzureSecrets {
    /// Nothing is asked yet. `authority` replaces the cloud's own server for tokens.
    pub fn new(
        client: Client,
        vault: AzureKeyVault,
        identity: Identity,
        authority: Option<&str>,
    ) -> Self {
        let (cloud, scope) = match vault.authority_host {
            AzureCloud::Public => (
                "https://login.microsoftonline.com",
                "https://vault.azure.net/.default",
            ),
            AzureCloud::China => (
                "https://login.chinacloudapi.cn",
                "https://vault.azure.cn/.default",
            ),
            AzureCloud::Germany => (
                "https://login.microsoftonline.de",
                "https://vault.microsoftazure.de/.default",
            ),
            AzureCloud::Government => (
                "https://login.microsoftonline.us",
                "https://vault.usgovcloudapi.net/.default",
            ),
        };
        let of_pod = match &identity {
            Identity::Workload { authority, .. } => authority.as_deref(),
            Identity::Secret(_) => None,
        };
        let authority = authority.or(of_pod).unwrap_or(cloud);
        AzureSecrets(Arc::new(Inner {
            client,
            name: format!("Azure Key Vault `{}`", vault.vault_url),
            vault: vault.vault_url,
            authority: authority.trim_end_matches('/').to_owned(),
            identity,
            scope,
            token: Mutex::default(),
        }))
    }
}

impl fmt::Debug for AzureSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl VariablesProvider for AzureSecrets {
    fn ask<'a>(&'a self, name: &'a VariableName) -> Asking<'a> {
        let (inner, name) = (Arc::clone(&self.0), name.to_string());
        Box::pin(apart(move || inner.ask(&name)))
    }
}

impl Inner {
    fn ask(&self, name: &str) -> Result<Option<String>, ProviderError> {
        let token = self.token()?;
        let secret = name.replace('_', "-");
        let base = self.vault.to_string();
        let base = base.trim_end_matches('/');
        let url = format!("{base}/secrets/{secret}?api-version={API}");
        let request = Request::get(url)
            .header("Authorization", format!("Bearer {}", token.expose()))
            .body(())
            .map_err(|_| self.failed("its token cannot be sent"))?;
        let Some(answer) = self.client.json(request, &self.name)? else {
            return Ok(None);
        };
        match answer.get("value") {
            Some(Value::String(value)) => Ok(Some(value.clone())),
            _ => Err(self.failed(&format!("secret `{secret}` has no value"))),
        }
    }

    fn failed(&self, what: &str) -> ProviderError {
        ProviderError(format!("{}: {what}", self.name))
    }

    /// The last token, or a new one where it ends soon.
    fn token(&self) -> Result<Secret, ProviderError> {
        let kept = || self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, end)) = &*kept()
            && Instant::now() < *end
        {
            return Ok(token.clone());
        }
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("scope", self.scope);
        let tenant = match &self.identity {
            Identity::Secret(client) => {
                form.append_pair("client_id", &client.client_id)
                    .append_pair("client_secret", client.client_secret.expose());
                &client.tenant_id
            }
            Identity::Workload {
                client_id,
                tenant_id,
                token_file,
                ..
            } => {
                let assertion = std::fs::read_to_string(token_file).map_err(|error| {
                    self.failed(&format!("cannot read `{}`: {error}", token_file.display()))
                })?;
                form.append_pair("client_id", client_id)
                    .append_pair(
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    )
                    .append_pair("client_assertion", assertion.trim());
                tenant_id
            }
        };
        let server = format!("{} at `{}`", self.name, self.authority);
        let request = Request::post(format!("{}/{tenant}/oauth2/v2.0/token", self.authority))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form.finish())
            .map_err(|_| self.failed("its tenant cannot be part of a URL"))?;
        let answer = self.client.json(request, &server)?;
        let answer = answer.ok_or_else(|| ProviderError(format!("{server}: no such tenant")))?;
        let token = answer.get("access_token").and_then(Value::as_str);
        let token = token.ok_or_else(|| ProviderError(format!("{server}: it gave no token")))?;
        let lasts = answer.get("expires_in").and_then(Value::as_u64);
        let lasts = Duration::from_secs(lasts.unwrap_or_default()).saturating_sub(MARGIN);
        let token = Secret::new(token);
        *kept() = Some((token.clone(), Instant::now() + lasts));
        Ok(token)
    }
}
