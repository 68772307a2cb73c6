//! `[[variables_provider]]`.

use crate::check::{passed, variable_name};
use crate::fields::{Ask, Fields, list, map, text};
use crate::node::Node;

use super::read::{secret, some_text, typed, url, word};
use super::{AzureClient, AzureCloud, AzureKeyVault, Secret, VariablesProvider, Vault};

const HTTP: &[&str] = &["http", "https"];

const TYPES: &[&str] = &["env", "static", "files", "vault", "azure_key_vault"];

const CLOUDS: &[(&str, AzureCloud)] = &[
    ("AzurePublicCloud", AzureCloud::Public),
    ("AzureChina", AzureCloud::China),
    ("AzureGermany", AzureCloud::Germany),
    ("AzureGovernment", AzureCloud::Government),
];

/// The providers, under the field's new or old name.
pub(super) fn providers(fields: &mut Fields<'_>) -> Vec<VariablesProvider> {
    let both = fields.has("variables_provider");
    let new = fields.list("variables_provider", provider);
    let old = fields.optional("config_provider", |node, ask| {
        if both {
            ask.fault(
                node.at,
                "is the old name of `variables_provider`; use one of them",
            );
        }
        list(node, ask, provider)
    });
    old.unwrap_or(new)
}

fn provider(node: Node, ask: &Ask<'_>) -> Option<VariablesProvider> {
    typed(node, ask, TYPES, |kind, fields| match kind {
        "env" => Some(VariablesProvider::Env {
            prefix: fields.optional("prefix", prefix),
            dotenv_path: fields.optional("dotenv_path", some_text),
        }),
        "static" => fields.required("values", values).map(|values| {
            let values = values.into_iter().collect();
            VariablesProvider::Static { values }
        }),
        "files" => {
            let path = fields.required("path", some_text)?;
            Some(VariablesProvider::Files { path })
        }
        "vault" => vault(fields).map(VariablesProvider::Vault),
        _ => azure(fields).map(VariablesProvider::AzureKeyVault),
    })
}

/// Empty text is no prefix, as spin-operator writes it.
fn prefix(node: Node, ask: &Ask<'_>) -> Option<String> {
    text(node, ask)
        .map(|text| text.value)
        .filter(|text| !text.is_empty())
}

/// Values of variables by name.
pub(super) fn values(node: Node, ask: &Ask<'_>) -> Option<Vec<(String, Secret)>> {
    let values = map(node, ask, |node, ask| {
        text(node, ask).map(|text| Secret::new(text.value))
    })?;
    let known = values.into_iter().filter_map(|(name, value)| {
        let name = variable_name(&name, ask)?;
        Some((name.to_string(), value))
    });
    Some(known.collect())
}

fn vault(fields: &mut Fields<'_>) -> Option<Vault> {
    let url = fields.required("url", url(HTTP));
    let token = fields.required("token", secret);
    let mount = fields.required("mount", segments);
    let prefix = fields.optional("prefix", segments);
    Some(Vault {
        url: url?,
        token: token?,
        mount: mount?,
        prefix,
    })
}

/// A path below a URL, without slashes at its ends.
fn segments(node: Node, ask: &Ask<'_>) -> Option<String> {
    let at = node.at;
    let path = some_text(node, ask)?;
    let path = path.trim_matches('/');
    let is_segment = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed)
    };
    let checked = match path.split('/').all(is_segment) {
        true => Ok(path.to_owned()),
        false => Err("must be a path of letters, digits, `-`, `_`, `.` and `~`, joined by `/`"),
    };
    passed(checked, at, ask)
}

fn azure(fields: &mut Fields<'_>) -> Option<AzureKeyVault> {
    let (at, ask) = (fields.at, fields.ask.clone());
    let before = ask.sink.noted();
    let vault_url = fields.required("vault_url", url(HTTP));
    let client_id = fields.optional("client_id", some_text);
    let client_secret = fields.optional("client_secret", secret);
    let tenant_id = fields.optional("tenant_id", some_text);
    let authority_host = fields.optional("authority_host", word(CLOUDS));
    let client = match (client_id, client_secret, tenant_id) {
        (Some(client_id), Some(client_secret), Some(tenant_id)) => Some(AzureClient {
            client_id,
            client_secret,
            tenant_id,
        }),
        (None, None, None) => None,
        _ => {
            // A member that is wrong was written, and is not missing as well.
            if ask.sink.noted() == before {
                let message =
                    "must have all of `client_id`, `client_secret` and `tenant_id`, or none";
                ask.fault(at, message);
            }
            None
        }
    };
    Some(AzureKeyVault {
        vault_url: vault_url?,
        client,
        authority_host: authority_host.unwrap_or_default(),
    })
}
