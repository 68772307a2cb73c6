//! TLS: whom to trust, and who one is. The authorities of Mozilla are built in, so that an
//! image without files works; those of the container's files are added.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use skiff_manifest::hosts::Host;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Settings;
use crate::settings::ClientTls;

#[derive(Debug)]
pub(crate) struct Tls {
    /// In the order in which they are looked at.
    rules: Vec<(ClientTls, Config)>,
    usual: (Files, Config),
}

/// Made at the first connection.
type Config = OnceCell<Arc<ClientConfig>>;

#[derive(Debug, Clone)]
struct Files {
    first_of: Vec<PathBuf>,
    all_in: Vec<PathBuf>,
}

impl Tls {
    pub(crate) fn new(settings: &Settings) -> Self {
        let files = Files {
            first_of: settings.authorities.clone(),
            all_in: settings.authorities_in.clone(),
        };
        let rules = settings.client_tls.iter();
        Tls {
            rules: rules.map(|rule| (rule.clone(), Config::new())).collect(),
            usual: (files, Config::new()),
        }
    }

    /// The rule for a component's connections to a host, if there is one.
    pub(crate) fn rule(&self, component: &str, host: &Host) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        let name = host.to_string();
        let name = name.trim_start_matches('[').trim_end_matches(']');
        self.rules
            .iter()
            .position(|(rule, _)| rule.components.contains(component) && rule.hosts.contains(name))
    }

    /// Agrees on TLS with a host, which proves its name.
    pub(crate) async fn connect(
        &self,
        rule: Option<usize>,
        host: &Host,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::V4(*ip)),
            Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::V6(*ip)),
        };
        let (files, usual) = &self.usual;
        let files = files.clone();
        let config = match rule.and_then(|rule| self.rules.get(rule)) {
            None => {
                usual
                    .get_or_try_init(|| made(move || files.config(None)))
                    .await
            }
            Some((rule, config)) => {
                let rule = rule.clone();
                config
                    .get_or_try_init(|| made(move || files.config(Some(&rule))))
                    .await
            }
        };
        let connector = TlsConnector::from(Arc::clone(config?));
        connector.connect(name, stream).await
    }
}

/// Files are read where nobody waits for it.
async fn made(
    make: impl FnOnce() -> io::Result<ClientConfig> + Send + 'static,
) -> io::Result<Arc<ClientConfig>> {
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(io::Error::other)?.map(Arc::new)
}

impl Files {
    fn config(&self, rule: Option<&ClientTls>) -> io::Result<ClientConfig> {
        let has = |asked: fn(&ClientTls) -> bool| rule.is_none_or(asked);
        let mut roots = RootCertStore::empty();
        if has(|rule| rule.built_in_authorities) {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if has(|rule| rule.files_of_authorities) {
            self.add_all(&mut roots);
        }
        if let Some(file) = rule.and_then(|rule| rule.authorities.as_ref()) {
            add(&mut roots, file);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        let mut config = match rule.and_then(|rule| rule.client.as_ref()) {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let named = |file: &Path| {
                    let file = file.display().to_string();
                    move |error: rustls::pki_types::pem::Error| {
                        io::Error::other(format!("{file}: {error}"))
                    }
                };
                let chain = CertificateDer::pem_file_iter(certificates)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(named(certificates))?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(named(key))?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(io::Error::other)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn add_all(&self, roots: &mut RootCertStore) {
        if let Some(file) = self.first_of.iter().find(|file| file.exists()) {
            add(roots, file);
        }
        for folder in &self.all_in {
            match fs::read_dir(folder) {
                Ok(entries) => {
                    let files = entries.flatten().map(|entry| entry.path());
                    files
                        .filter(|file| file.is_file())
                        .for_each(|file| add(roots, &file));
                }
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "Certificate authorities cannot be read");
                }
            }
        }
    }
}

/// Adds the certificates of a file. What cannot be read is told and left out.
fn add(roots: &mut RootCertStore, file: &Path) {
    let tell = |error: &dyn std::fmt::Display| {
        tracing::warn!(file = %file.display(), %error, "Certificate authorities cannot be read");
    };
    let certificates = match CertificateDer::pem_file_iter(file) {
        Ok(certificates) => certificates,
        Err(error) => return tell(&error),
    };
    for certificate in certificates {
        match certificate {
            Ok(certificate) => {
                // Bundles have old certificates that are no authorities any more.
                if let Err(error) = roots.add(certificate) {
                    tracing::debug!(file = %file.display(), %error, "Not a certificate authority");
                }
            }
            Err(error) => return tell(&error),
        }
    }
}
