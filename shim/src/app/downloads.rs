//! Components that a manifest names by URL, kept where compiled code is.

use std::path::{Path, PathBuf};

use skiff_artifact::FetchError;
use skiff_backend_web::Downloads;

use super::variables::client;

/// The folder beside the compiled code.
const FOLDER: &str = "downloads";

/// Gets the file of a URL and its digest from `cache`, or downloads it. `environment` tells
/// whose certificates to trust.
///
/// # Errors
/// If it cannot be downloaded or kept, or has another digest.
pub fn fetch(
    cache: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    url: &str,
    digest: &str,
) -> Result<PathBuf, FetchError> {
    tracing::info!(digest, "A component comes from a URL");
    let downloads = Downloads::new(cache.join(FOLDER), client(environment)?);
    Ok(downloads.get(url, digest)?)
}
