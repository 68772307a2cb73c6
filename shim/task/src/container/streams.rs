//! Standard streams of a process, as containerd passes them: paths of FIFOs or files.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The paths; each is empty if there is no such stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Streams {
    pub(crate) stdin: PathBuf,
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
}

/// Opens a FIFO in both directions, which neither waits for the other end nor loses it
/// when containerd restarts. `None` if containerd gave no path, or gave a URI, which only
/// its own runtime supports.
pub(super) fn open(path: &Path) -> anyhow::Result<Option<File>> {
    if !path.is_absolute() {
        return Ok(None);
    }
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened
        .map(Some)
        .with_context(|| format!("cannot open `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_streams_may_be_absent() {
        assert!(open(Path::new("")).unwrap().is_none());
        assert!(open(Path::new("binary:///bin/log")).unwrap().is_none());
        let error = open(Path::new("/does/not/exist")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open `/does/not/exist`");
    }
}
