//! The installer's record of a node, beside the versions on it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::{Host, HostError};

/// The file's name in the folder of versions.
const FILE: &str = "installed.json";

/// What can be wrong with the record.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It is not as this program writes it.
    #[error("`{}` on the node was written by a newer installer, or by hand", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
}

/// What is installed on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The version in use; empty while the first one is only being tried.
    pub version: String,
    /// The previous version, to which `rollback` goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Whether an application has run on the version in use through its links.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checked: bool,
    /// A version whose self-check failed here. It is tried again only on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Folders that the first installation created, the outer first.
    #[serde(default)]
    pub created: Vec<PathBuf>,
}

impl State {
    /// The path of the record.
    pub fn path(home: &str) -> PathBuf {
        Path::new(home).join(FILE)
    }

    /// The record, if anything is installed.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(host: &Host, home: &str) -> Result<Option<Self>, StateError> {
        let path = Self::path(home);
        let Some(bytes) = host.read(&path)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| StateError::Format { path, source })
    }

    /// Makes a version the one in use, and the one before it the rollback target.
    pub fn take_version(&mut self, version: &str) {
        if self.failed.as_deref() == Some(version) {
            self.failed = None;
        }
        if self.version == version {
            return;
        }
        self.checked = false;
        let before = std::mem::replace(&mut self.version, version.to_owned());
        self.previous = (!before.is_empty()).then_some(before);
    }

    /// The text of the record.
    ///
    /// # Panics
    ///
    /// Never: paths come from constants, so all of it can be written as JSON.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("plain text");
        bytes.push(b'\n');
        bytes
    }
}
