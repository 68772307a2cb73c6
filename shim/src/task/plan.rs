//! What the shim tells the process that serves a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a Wasm container runs: made when the container is created, outside of it,
/// and read by the serving process inside. It holds nothing that parses foreign
/// bytes again, except where the application lies in the container's own files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    /// Where the application is.
    pub(super) source: Source,
    /// Keys of compiled code in the node's cache, by component id.
    pub(super) codes: BTreeMap<String, String>,
    /// Volumes of the pod that guests may see.
    pub(super) mounts: Vec<Mount>,
    /// Whether it is a component alone, without a manifest: it sees the container's
    /// environment, as a program would.
    pub(super) bare: bool,
    /// The container's arguments.
    pub(super) args: Vec<String>,
    /// Where the termination message goes, as the container sees it.
    pub(super) termination_message: Option<PathBuf>,
}

/// Where the application is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Source {
    /// In the node's folder, unpacked from an artifact.
    Unpacked,
    /// In the container's root file system.
    RootFs {
        /// What the image, or the pod, wants to be run.
        entrypoint: Vec<String>,
        /// What that is relative to.
        directory: PathBuf,
    },
}

/// A volume of the pod, seen by guests under the path where the pod mounts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mount {
    /// Absolute path, the same for the container and its guests.
    pub(super) path: PathBuf,
    /// Whether the pod mounts it for writing.
    pub(super) writable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_back_as_it_was_written() {
        let plan = Plan {
            source: Source::RootFs {
                entrypoint: vec!["app.wasm".to_owned(), "arg".to_owned()],
                directory: PathBuf::from("/"),
            },
            codes: BTreeMap::from([("web".to_owned(), "0123".to_owned())]),
            mounts: vec![Mount {
                path: PathBuf::from("/data"),
                writable: true,
            }],
            bare: true,
            args: vec!["/app.wasm".to_owned(), "arg".to_owned()],
            termination_message: Some(PathBuf::from("/dev/termination-log")),
        };
        let json = serde_json::to_vec(&plan).unwrap();
        assert_eq!(serde_json::from_slice::<Plan>(&json).unwrap(), plan);
    }

    #[test]
    fn a_plan_of_another_version_is_refused() {
        let json = r#"{"source":"Unpacked","codes":{},"mounts":[],"bare":false,"args":[],"termination_message":null,"more":1}"#;
        let error = serde_json::from_str::<Plan>(json).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `more`"),
            "{error}"
        );
    }
}
