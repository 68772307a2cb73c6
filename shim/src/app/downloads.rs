//! Components that a manifest names by URL, kept where compiled code is.

use std::fs;
use std::path::{Path, PathBuf};

use skiff_artifact::{FetchError, Scratch, sweep};
use skiff_backend_web::{DownloadError, Downloads};

use super::variables::client;

/// The folder beside the compiled code.
const FOLDER: &str = "downloads";

/// What folders of unfinished downloads begin with.
const UNFINISHED: &str = "unfinished-";

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
    let folder = cache.join(FOLDER);
    let downloads = Downloads::new(folder.clone(), client(environment)?);
    if let Some(file) = downloads.kept(digest) {
        return Ok(file);
    }
    let unfinished = || {
        fs::create_dir_all(&folder)?;
        // Of killed processes.
        sweep(&folder, &[UNFINISHED])?;
        Scratch::new_in(&folder, UNFINISHED)
    };
    let unfinished = unfinished().map_err(|source| DownloadError::Folder {
        folder: folder.clone(),
        source,
    })?;
    Ok(downloads.get(url, digest, &unfinished.path())?)
}
