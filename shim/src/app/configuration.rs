//! An application's runtime configuration: the file, and which parts of it Skiff has.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use skiff_manifest::Faults;
use skiff_manifest::runtime::{self, Applied, BlockedNetwork, Defaults, Origin, RuntimeConfig};

use crate::settings::Settings;

/// More than a file that people write, and little enough to be read at each start.
pub(crate) const MOST_BYTES: u64 = 1 << 20;

/// A runtime configuration and where it was read. The default sets nothing.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    config: RuntimeConfig,
    file: PathBuf,
}

/// Why there is no runtime configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read the runtime configuration `{}`", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It has mistakes.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// The node's operator does not allow something in it.
    #[error("{0}")]
    Refused(String),
}

impl Configuration {
    /// Reads a file of at most 1 MiB.
    ///
    /// # Errors
    /// If it cannot be read, or has mistakes: all of them, with line and column.
    pub fn read(file: &Path) -> Result<Self, ConfigurationError> {
        let text = text_of(file, MOST_BYTES).map_err(|source| ConfigurationError::Read {
            file: file.to_owned(),
            source,
        })?;
        Ok(Configuration {
            config: runtime::read(&text, &file.to_string_lossy())?,
            file: file.to_owned(),
        })
    }

    /// The same with the defaults of the node's operator, and where each of its settings
    /// comes from.
    ///
    /// # Errors
    /// If it would replace what the operator does not let pods replace.
    pub fn with_defaults(
        self,
        defaults: &Defaults,
    ) -> Result<(Self, Vec<Origin>), ConfigurationError> {
        let applied = defaults.apply(self.config);
        let Applied { config, origins } = applied.map_err(|mistakes| {
            let file = self.file.display();
            let mistakes = mistakes.iter().map(|mistake| format!("{file}: {mistake}"));
            ConfigurationError::Refused(mistakes.collect::<Vec<_>>().join("; "))
        })?;
        let file = self.file;
        Ok((Configuration { config, file }, origins))
    }

    /// What was configured.
    pub(super) fn config(&self) -> &RuntimeConfig {
        &self.config
    }

    /// A path of the file that is relative to the file's own folder.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        folder.join(path)
    }

    /// Sets what has a setting of its own, unless the environment has set that.
    pub fn complete(&self, settings: &mut Settings) {
        if let Some(bytes) = self.config.max_instance_memory {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            settings.guests.memory.get_or_insert(bytes);
        }
        let network = &mut settings.network;
        let whole = |path: &mut String| *path = self.beside(path).to_string_lossy().into_owned();
        network.client_tls = self.config.client_tls.clone();
        for rule in &mut network.client_tls {
            rule.ca_roots_file.iter_mut().for_each(whole);
            if let Some(client) = &mut rule.client {
                whole(&mut client.cert_file);
                whole(&mut client.private_key_file);
            }
        }
        if let Some(networking) = &self.config.outbound_networking {
            for blocked in &networking.block_networks {
                match blocked {
                    BlockedNetwork::Private => network.also_blocked.add_private(),
                    BlockedNetwork::Range(range) => network.also_blocked.add(*range),
                }
            }
            // What is stricter counts.
            network.all_connections = networking.max_total_connections;
            network.socket_connections = networking.max_socket_connections;
        }
        if let Some(http) = &self.config.outbound_http {
            let most = http.max_connections;
            network.connections = network.connections.min(most.unwrap_or(usize::MAX));
            network.keeps_connections = http.connection_pooling;
        }
    }

    /// What is set and would have no effect, one mistake for each key.
    pub(super) fn not_offered(&self) -> Vec<String> {
        let config = &self.config;
        let mut keys = Vec::new();
        let mut not = |is_set: bool, key: &'static str| keys.extend(is_set.then_some(key));
        not(config.log_dir.is_some(), "log_dir");
        not(config.llm_compute.is_some(), "llm_compute");
        not(config.outbound_redis.is_some(), "outbound_redis");
        not(config.outbound_pg.is_some(), "outbound_pg");
        not(config.outbound_mysql.is_some(), "outbound_mysql");
        not(config.outbound_mqtt.is_some(), "outbound_mqtt");
        let file = self.file.display();
        let keys = keys.into_iter();
        keys.map(|key| {
            format!("{file}: `{key}` has no effect, as this version of Skiff does not offer it yet")
        })
        .collect()
    }
}

/// The text of a file that has at most so many bytes.
///
/// # Errors
/// If it cannot be read, is larger, or is not UTF-8.
pub(super) fn text_of(file: &Path, most: u64) -> io::Result<String> {
    read_text(File::open(file)?, most)
}

/// The same of an open file.
///
/// # Errors
/// If it cannot be read, is larger, or is not UTF-8.
pub(crate) fn read_text(file: File, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let message = format!("it has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Configuration, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runtime-config.toml");
        std::fs::write(&file, text).unwrap();
        let read = Configuration::read(&file);
        read.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    }

    #[test]
    fn what_would_have_no_effect_is_told_by_its_key() {
        let file = b"log_dir = '/logs'\n[llm_compute]\ntype = 'spin'\n";
        let told = read(file).unwrap().not_offered();
        assert_eq!(told.len(), 2);
        assert!(
            told[0].contains("runtime-config.toml: `log_dir` has no effect"),
            "{told:?}"
        );
        assert!(told[1].contains("`llm_compute` has no effect"), "{told:?}");
    }

    #[test]
    fn the_network_is_limited_as_configured_and_never_less_than_by_a_setting() {
        let text = b"[outbound_networking]\nblock_networks = ['private', '198.51.100.0/24']\nmax_total_connections = 9\n[outbound_http]\nconnection_pooling = false\nmax_connections = 7\n";
        let configuration = read(text).unwrap();
        assert!(configuration.not_offered().is_empty());
        let mut settings = Settings::default();
        settings.network.connections = 8;
        configuration.complete(&mut settings);
        assert_eq!(settings.network.connections, 7);
        assert_eq!(settings.network.all_connections, Some(9));
        assert!(!settings.network.keeps_connections);
        let blocked = &settings.network.also_blocked;
        assert_eq!(blocked.to_string(), "private,198.51.100.0/24");
        let tls = b"[[client_tls]]\ncomponent_ids = ['a']\nhosts = ['b.test']\nca_roots_file = 'ca.pem'\n";
        let configuration = read(tls).unwrap();
        assert!(configuration.not_offered().is_empty());
        configuration.complete(&mut settings);
        let file = settings.network.client_tls[0]
            .ca_roots_file
            .clone()
            .unwrap();
        assert!(file.starts_with('/') && file.ends_with("/ca.pem"), "{file}");
        let sockets = read(b"[outbound_networking]\nmax_socket_connections = 5\n").unwrap();
        assert!(sockets.not_offered().is_empty());
        sockets.complete(&mut settings);
        assert_eq!(settings.network.socket_connections, Some(5));
    }

    #[test]
    fn memory_is_limited_unless_the_environment_does() {
        let configuration = read(b"max_instance_memory = 65536").unwrap();
        assert!(configuration.not_offered().is_empty());
        let mut settings = Settings::default();
        configuration.complete(&mut settings);
        assert_eq!(settings.guests.memory, Some(65536));
        settings.guests.memory = Some(1);
        configuration.complete(&mut settings);
        assert_eq!(settings.guests.memory, Some(1));
    }

    #[test]
    fn a_file_that_is_no_configuration_is_told() {
        let large = vec![b'#'; 1 + MOST_BYTES as usize];
        for (bytes, expected) in [
            (
                &b"nmae = 1"[..],
                "runtime-config.toml:1:1: runtime configuration: `nmae` is not",
            ),
            (b"\xff", "it is not UTF-8"),
            (&large, "it has more than 1048576 bytes"),
        ] {
            let told = read(bytes).unwrap_err();
            assert!(told.contains(expected), "{told}");
        }
        let told = Configuration::read(Path::new("/nowhere/at-all.toml")).unwrap_err();
        assert!(
            told.to_string().contains("`/nowhere/at-all.toml`"),
            "{told}"
        );
    }
}
