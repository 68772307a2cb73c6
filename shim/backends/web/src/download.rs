//! Components that a manifest names by URL and digest.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use skiff_manifest::runtime::ServiceUrl;
use tempfile::NamedTempFile;
use ureq::http::StatusCode;

use crate::Client;

/// The most bytes of a component: more than any toolchain makes.
const MOST_BYTES: u64 = 512 << 20;

/// How long a download may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Files that were downloaded, in a folder by their digests. Several processes may use one
/// folder.
#[derive(Debug, Clone)]
pub struct Downloads {
    folder: PathBuf,
    client: Client,
    most: u64,
}

/// Why there is no file. URLs are shown without what may be secret in them.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Not a URL of a server.
    #[error("its URL {0}")]
    Url(String),
    /// The folder cannot be used.
    #[error("cannot keep downloads in `{}`", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The server did not send it.
    #[error("cannot download `{url}`: {reason}")]
    Fetch {
        /// Its URL.
        url: String,
        /// The cause.
        reason: String,
    },
    /// It is too large.
    #[error("`{url}` has more than {most} bytes")]
    TooLarge {
        /// Its URL.
        url: String,
        /// The limit.
        most: u64,
    },
    /// It is another file.
    #[error("`{url}` has the digest `{found}`, and `{expected}` is expected")]
    Digest {
        /// Its URL.
        url: String,
        /// Its digest.
        found: String,
        /// The manifest's.
        expected: String,
    },
}

impl Downloads {
    /// Keeps files in this folder, which is made when it is needed.
    pub fn new(folder: PathBuf, client: Client) -> Self {
        Downloads {
            folder,
            client,
            most: MOST_BYTES,
        }
    }

    /// The same with another limit, for tests.
    #[must_use]
    pub fn up_to(self, most: u64) -> Self {
        Downloads { most, ..self }
    }

    /// The file with this digest (`sha256:…`), if it is there and whole.
    pub fn kept(&self, digest: &str) -> Option<PathBuf> {
        let file = self.file(digest);
        has_digest(&file, hex_of(digest)).then_some(file)
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("sha256-{}.wasm", hex_of(digest)))
    }

    /// Downloads the file with this digest. Until it is complete it lies in `unfinished`, a
    /// folder of the same file system that its owner removes.
    ///
    /// # Errors
    /// [`DownloadError`]; nothing is kept then.
    pub fn get(
        &self,
        url: &str,
        digest: &str,
        unfinished: &Path,
    ) -> Result<PathBuf, DownloadError> {
        let url = ServiceUrl::parse(url, &["http", "https"]).map_err(DownloadError::Url)?;
        let shown = url.to_string();
        let (hex, file) = (hex_of(digest), self.file(digest));
        let folder = |source| DownloadError::Folder {
            folder: self.folder.clone(),
            source,
        };
        let mut part = NamedTempFile::new_in(unfinished).map_err(folder)?;
        let found = self.fetch(url, &shown, &mut part)?;
        if found != hex {
            return Err(DownloadError::Digest {
                url: shown,
                found: format!("sha256:{found}"),
                expected: digest.to_owned(),
            });
        }
        part.persist(&file).map_err(|error| folder(error.error))?;
        Ok(file)
    }

    /// Downloads into `part`, and returns the digest.
    fn fetch(
        &self,
        url: ServiceUrl,
        shown: &str,
        part: &mut NamedTempFile,
    ) -> Result<String, DownloadError> {
        let failed = |reason: String| DownloadError::Fetch {
            url: shown.to_owned(),
            reason,
        };
        let answer = self.client.download(url, LIMIT).map_err(failed)?;
        if answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            return Err(failed(format!("it answered with status {status}")));
        }
        let mut body = answer.into_body().into_reader();
        let (mut hasher, mut size) = (Sha256::new(), 0);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = body.read(&mut buffer);
            let read = read.map_err(|error| {
                let error = ureq::Error::from(error);
                failed(self.client.told_of_download(&error, LIMIT))
            })?;
            if read == 0 {
                return Ok(hex::encode(hasher.finalize()));
            }
            size += read as u64;
            if size > self.most {
                return Err(DownloadError::TooLarge {
                    url: shown.to_owned(),
                    most: self.most,
                });
            }
            hasher.update(&buffer[..read]);
            let written = part.write_all(&buffer[..read]);
            written.map_err(|source| DownloadError::Folder {
                folder: self.folder.clone(),
                source,
            })?;
        }
    }
}

fn hex_of(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// Whether a file is there and whole.
fn has_digest(file: &Path, hex: &str) -> bool {
    let hash = || -> io::Result<String> {
        let mut hasher = Sha256::new();
        io::copy(&mut std::fs::File::open(file)?, &mut hasher)?;
        Ok(hex::encode(hasher.finalize()))
    };
    hash().is_ok_and(|found| found == hex)
}
