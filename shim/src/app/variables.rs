//! Where an application's variables come from, and what their values are at its start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use skiff_backend_web::{AzureSecrets, Client, ClientError, Identity, VaultSecrets};
use skiff_host::{KnownValues, ProviderError, ValueSource};
use skiff_manifest::runtime::VariablesProvider as Configured;
use skiff_manifest::{Application, VariableName};

use super::check::Values;
use super::configuration::Configuration;

mod environment;
mod files;

use files::Files;

/// What an application starts with, besides its image.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Values of its variables at its start, without the manifest's defaults.
    pub values: KnownValues,
    /// Where its guests' variables come from, in the order in which they are asked.
    pub sources: Vec<ValueSource>,
    /// Its runtime configuration.
    pub configuration: Configuration,
    /// Whether values or a configuration may exist that are not known here, so that nothing
    /// is missing yet.
    pub is_partial: bool,
}

/// Places of variables besides the runtime configuration.
pub struct Places<'a> {
    /// Values that a person has set for this start. They come first.
    pub set: Values,
    /// A folder with one file a variable. It comes after the configured providers.
    pub folder: Option<&'a Path>,
    /// An environment, for providers that name their variables in it.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Values from the environment under their usual names. They come next to last.
    pub usual: Values,
    /// A file that sets `SPIN_VARIABLE_<NAME>`, if it exists. It comes last.
    pub dotenv: Option<&'a Path>,
}

impl Setup {
    /// Asks all providers for the variables of `application`, so that one that cannot be
    /// used fails the start.
    ///
    /// # Errors
    /// If a provider cannot be used, or does not answer.
    pub fn new(
        application: &Application,
        configuration: Configuration,
        places: Places<'_>,
    ) -> anyhow::Result<Self> {
        let names = || application.variables.keys();
        let sources = sources(names(), &configuration, places)?;
        let values = values(names(), &sources)?;
        Ok(Setup {
            values: KnownValues(values),
            sources,
            configuration,
            is_partial: false,
        })
    }

    /// Only these values and this configuration. If it is partial, there may be more.
    pub fn known(values: Values, configuration: Configuration, is_partial: bool) -> Self {
        Setup {
            sources: vec![known(values.clone())],
            values: KnownValues(values),
            configuration,
            is_partial,
        }
    }
}

fn known(values: Values) -> ValueSource {
    ValueSource::Known(KnownValues(values))
}

fn sources<'a>(
    names: impl Iterator<Item = &'a VariableName> + Clone,
    configuration: &Configuration,
    places: Places<'_>,
) -> anyhow::Result<Vec<ValueSource>> {
    let mut sources = vec![known(places.set)];
    for provider in &configuration.config().variables_providers {
        sources.push(match provider {
            Configured::Env {
                prefix,
                dotenv_path,
            } => {
                let file = dotenv_path.as_deref().map(Path::new);
                let file = file.map(environment::dotenv).transpose()?;
                let file = file.unwrap_or_default();
                let prefix = prefix.as_deref();
                known(environment::values(names.clone(), prefix, |name| {
                    (places.environment)(name).or_else(|| file.get(name).cloned())
                }))
            }
            Configured::Static { values } => {
                let values = values.iter();
                let plain = |(name, value): (&String, &skiff_manifest::runtime::Secret)| {
                    (name.clone(), value.expose().to_owned())
                };
                known(values.map(plain).collect())
            }
            Configured::Files { path } => files(configuration.beside(path))?,
            Configured::Vault(vault) => {
                let client = client(places.environment)?;
                ValueSource::Asked(Arc::new(VaultSecrets::new(client, vault.clone())))
            }
            Configured::AzureKeyVault(vault) => {
                let client = client(places.environment)?;
                let identity = Identity::new(vault.client.clone(), places.environment)?;
                let secrets = AzureSecrets::new(client, vault.clone(), identity, None);
                ValueSource::Asked(Arc::new(secrets))
            }
        });
    }
    if let Some(folder) = places.folder {
        sources.push(files(folder.to_owned())?);
    }
    sources.push(known(places.usual));
    if let Some(file) = places.dotenv.filter(|file| file.exists()) {
        let file = environment::dotenv(file)?;
        let prefix = Some("SPIN_VARIABLE");
        sources.push(known(environment::values(names, prefix, |name| {
            file.get(name).cloned()
        })));
    }
    Ok(sources)
}

fn files(folder: PathBuf) -> anyhow::Result<ValueSource> {
    Ok(ValueSource::Asked(Arc::new(Files::new(folder)?)))
}

/// A client that trusts what the environment tells it to, as other programs do.
pub(super) fn client(environment: &dyn Fn(&str) -> Option<String>) -> Result<Client, ClientError> {
    let authorities = environment("SSL_CERT_FILE");
    Client::new(authorities.as_deref().map(Path::new))
}

/// The values at the start.
fn values<'a>(
    names: impl Iterator<Item = &'a VariableName> + Clone,
    sources: &[ValueSource],
) -> anyhow::Result<Values> {
    let all = skiff_host::Values::new(names.clone().cloned(), sources.to_vec());
    let mut values = Values::new();
    let mut asked = Vec::new();
    for name in names {
        match all.known(name.as_ref()) {
            Some(value) => drop(values.insert(name.to_string(), value.to_owned())),
            None if all.is_asked(name.as_ref()) => asked.push(name),
            None => {}
        }
    }
    if asked.is_empty() {
        return Ok(values);
    }
    // It ends here with all its threads: processes are forked later. One that polls files
    // would leave them a pipe for signals, of which each could take the others'.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        for name in asked {
            let value = all.get(name.as_ref()).await;
            let value = value.map_err(|source| AskError {
                name: name.to_string(),
                source,
            })?;
            values.extend(value.map(|value| (name.to_string(), value)));
        }
        Ok(values)
    })
}

/// A provider that does not answer at the start.
#[derive(Debug, thiserror::Error)]
#[error("variable `{name}` has no value: {source}")]
struct AskError {
    name: String,
    source: ProviderError,
}

/// Reads `NAME=VALUE`, `NAME=@FILE`, `@FILE.json` or `@FILE.toml`. A line break at the end
/// of `FILE` does not belong to the value.
///
/// # Errors
/// If it is none of them, or the file cannot be read or has mistakes. No message shows a
/// value.
pub fn from_argument(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    if let Some(file) = text.strip_prefix('@') {
        let read = files::read(Path::new(file)).with_context(|| format!("cannot read `{file}`"))?;
        let read = skiff_manifest::runtime::values(&read, file)?.into_iter();
        return Ok(read
            .map(|(name, value)| (name, value.expose().to_owned()))
            .collect());
    }
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) =
        pair.context("expected NAME=VALUE, NAME=@FILE, @FILE.json or @FILE.toml")?;
    let value = match value.strip_prefix('@') {
        None => value.to_owned(),
        Some(file) => {
            let value = files::read(Path::new(file));
            value.with_context(|| format!("{name}: cannot read `{file}`"))?
        }
    };
    Ok(vec![(name.to_owned(), value)])
}

#[cfg(test)]
mod tests;
