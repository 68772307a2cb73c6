//! What the process that serves a container needs to know.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How an application runs. Written outside the container when it is created, and read by
/// the serving process inside. The container cannot change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The answer of the process that prepared it.
    pub application: Value,
    /// How many folders are handed over.
    pub(crate) folders: usize,
    /// Volumes of the pod that the application may use.
    pub volumes: Vec<Volume>,
    /// The container's arguments.
    pub args: Vec<String>,
    /// The path of the termination message inside the container.
    pub termination_message: Option<PathBuf>,
}

/// A volume of the pod, at the path where the pod mounts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Absolute path in the container.
    pub path: PathBuf,
    /// Whether the pod mounts it writable.
    pub writable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_reads_back_as_it_was_written() {
        let plan = Plan {
            application: json!({ "codes": { "web": "0123" } }),
            folders: 2,
            volumes: vec![Volume {
                path: PathBuf::from("/data"),
                writable: true,
            }],
            args: vec!["/app.wasm".to_owned(), "arg".to_owned()],
            termination_message: Some(PathBuf::from("/dev/termination-log")),
        };
        let json = serde_json::to_vec(&plan).unwrap();
        assert_eq!(serde_json::from_slice::<Plan>(&json).unwrap(), plan);
    }

    #[test]
    fn a_plan_of_another_version_is_refused() {
        let json = r#"{"application":{},"folders":0,"volumes":[],"args":[],"termination_message":null,"more":1}"#;
        let error = serde_json::from_str::<Plan>(json).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `more`"),
            "{error}"
        );
    }
}
