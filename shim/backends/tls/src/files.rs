//! Files of certificate authorities.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Files of certificate authorities, in PEM. What cannot be read is told in the log and left
/// out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authorities {
    /// Of these files, the first that exists is read.
    pub first_of: Vec<PathBuf>,
    /// All files in these folders are read.
    pub all_in: Vec<PathBuf>,
    /// These files are read.
    pub all_of: Vec<PathBuf>,
}

impl Authorities {
    /// Where distributions have the bundle of authorities: Debian and Alpine, Red Hat, SUSE.
    const USUAL: [&str; 3] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
    ];

    /// The machine's own.
    pub fn usual() -> Self {
        Authorities {
            first_of: Self::USUAL.map(PathBuf::from).to_vec(),
            ..Authorities::default()
        }
    }

    pub(crate) fn add_to(&self, roots: &mut RootCertStore) {
        if let Some(file) = self.first_of.iter().find(|file| file.exists()) {
            add_all(roots, file);
        }
        for folder in &self.all_in {
            match fs::read_dir(folder) {
                Ok(entries) => {
                    let files = entries.flatten().map(|entry| entry.path());
                    files.filter(|file| file.is_file()).for_each(|file| {
                        add(roots, &file);
                    });
                }
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "Certificate authorities cannot be read");
                }
            }
        }
        for file in &self.all_of {
            add_all(roots, file);
        }
    }
}

/// Adds the certificates of a file, which should have some.
fn add_all(roots: &mut RootCertStore, file: &Path) {
    if add(roots, file) == Some(0) {
        tracing::warn!(file = %file.display(), "There is no certificate authority in this file; it has to be in PEM");
    }
}

/// Adds the certificates of a file, and returns how many. What cannot be read is told and left
/// out.
fn add(roots: &mut RootCertStore, file: &Path) -> Option<usize> {
    let before = roots.len();
    let tell = |error: &dyn std::fmt::Display| {
        tracing::warn!(file = %file.display(), %error, "Certificate authorities cannot be read");
        None
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
    Some(roots.len() - before)
}
