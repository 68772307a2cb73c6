//! What the process that prepares an application passes to the one that serves it. It
//! passes through the shim and never through the container, which cannot change it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The result of preparing an application. Nothing in it leads to parsing untrusted bytes
/// again, unless the application lies in the container's own files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outcome {
    /// Where the application is.
    pub(super) source: Source,
    /// Keys of compiled code in the node's cache, by component id.
    pub(super) codes: BTreeMap<String, String>,
    /// Whether it is a single component without a manifest: it sees the container's
    /// environment, as a program would.
    pub(super) bare: bool,
    /// The operator's defaults for the pod's namespace, as [`Defaults::to_json`] writes them:
    /// they may hold secrets.
    ///
    /// [`Defaults::to_json`]: skiff_manifest::runtime::Defaults::to_json
    pub(super) defaults: Option<String>,
}

/// Where the application is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Source {
    /// In the node's folder, unpacked from an artifact.
    Unpacked,
    /// In the container's root file system.
    RootFs {
        /// The entrypoint of the image or the pod.
        entrypoint: Vec<String>,
        /// The folder to which the entrypoint is relative.
        directory: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_reads_back_as_it_was_written() {
        let outcome = Outcome {
            source: Source::RootFs {
                entrypoint: vec!["app.wasm".to_owned(), "arg".to_owned()],
                directory: PathBuf::from("/"),
            },
            codes: BTreeMap::from([("web".to_owned(), "0123".to_owned())]),
            bare: true,
            defaults: Some("{}".to_owned()),
        };
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!(Outcome::deserialize(&json).unwrap(), outcome);
    }

    #[test]
    fn an_outcome_of_another_version_is_refused() {
        let json = r#"{"source":"Unpacked","codes":{},"bare":false,"defaults":null,"more":1}"#;
        let error = serde_json::from_str::<Outcome>(json).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `more`"),
            "{error}"
        );
    }
}
