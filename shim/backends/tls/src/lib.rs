//! TLS for connections to servers: whom to trust, and who one is there. The one place that
//! makes configurations of rustls, for all clients.
//!
//! The authorities of Mozilla are built in, so that an image without files works; those of
//! the container's files are added. A configuration is made at the first connection: before
//! that no file is read.

mod files;
mod told;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
pub use tokio_rustls::client::TlsStream;

pub use self::files::Authorities;
pub use self::told::told;
pub use self::verify::Checks;

/// How to agree on TLS with servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether Mozilla's authorities are trusted.
    pub built_in: bool,
    /// Files of authorities that are trusted as well.
    pub authorities: Authorities,
    /// What of a server's certificate is checked.
    pub checks: Checks,
    /// A certificate and its key, in PEM, for servers that ask who one is.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Protocols to choose from by ALPN, the best one first.
    pub protocols: Vec<Vec<u8>>,
}

impl Settings {
    /// Trusts Mozilla's authorities and those of `authorities`, and checks chain and name.
    pub fn new(authorities: Authorities) -> Self {
        Settings {
            built_in: true,
            authorities,
            checks: Checks::default(),
            client: None,
            protocols: Vec::new(),
        }
    }
}

/// Agrees on TLS with servers.
#[derive(Debug)]
pub struct Tls {
    settings: Settings,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Tls {
    /// Nothing is read yet.
    pub fn new(settings: Settings) -> Self {
        Tls {
            settings,
            config: OnceCell::new(),
        }
    }

    /// What connects, once its files are read. This happens once, where nobody waits for it.
    ///
    /// # Errors
    /// If the client's certificate or key cannot be used. Authorities that cannot be read are
    /// told in the log and left out.
    pub async fn connector(&self) -> io::Result<Connector> {
        let config = self.config.get_or_try_init(|| async {
            let settings = self.settings.clone();
            let made = tokio::task::spawn_blocking(move || settings.config()).await;
            made.map_err(io::Error::other)?.map(Arc::new)
        });
        Ok(Connector(Arc::clone(config.await?)))
    }

    /// Agrees on TLS over a stream. `host` is a name, or an address without brackets.
    ///
    /// # Errors
    /// What [`told`] says in words.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector().await?.connect(host, stream).await
    }
}

/// Agrees on TLS with a configuration that is there.
#[derive(Debug, Clone)]
pub struct Connector(Arc<ClientConfig>);

impl Connector {
    /// As [`Tls::connect`].
    ///
    /// # Errors
    /// What [`told`] says in words.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.0));
        connector.connect(name, stream).await
    }
}

impl Settings {
    fn config(&self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        // Without checks there is nothing to trust.
        if self.checks != Checks::Nothing {
            if self.built_in {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            self.authorities.add_to(&mut roots);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match self.checks {
            Checks::ChainAndName => builder.with_root_certificates(roots),
            Checks::Chain | Checks::Nothing => {
                let verifier = verify::verifier(self.checks, roots, provider)?;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
            }
        };
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let named = |file: &PathBuf| {
                    let file = file.display().to_string();
                    move |error: rustls::pki_types::pem::Error| {
                        io::Error::other(format!("{file}: {error}"))
                    }
                };
                let chain = CertificateDer::pem_file_iter(certificates)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(named(certificates))?;
                let own = PrivateKeyDer::from_pem_file(key).map_err(named(key))?;
                let config = builder.with_client_auth_cert(chain, own);
                config.map_err(|error| unusable(certificates, key, &error))?
            }
        };
        config.alpn_protocols = self.protocols.clone();
        Ok(config)
    }
}

/// Why a client's certificate and key, each of which can be read, are of no use.
fn unusable(certificates: &Path, key: &Path, error: &rustls::Error) -> io::Error {
    let (certificates, key) = (certificates.display(), key.display());
    io::Error::other(match error {
        rustls::Error::NoCertificatesPresented => {
            format!("{certificates}: there is no certificate in it; it has to be in PEM")
        }
        rustls::Error::InconsistentKeys(_) => {
            format!("the private key in {key} does not fit the first certificate in {certificates}")
        }
        error => format!("{certificates} and {key}: {error}"),
    })
}
