//! Compiles Rust to WebAssembly, and gets the list of built files from cargo itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::BuildError;
use crate::paths::Paths;
use crate::process;

/// One compiled target: the name in its manifest and its file.
#[derive(Debug, PartialEq)]
pub(crate) struct Artifact {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

/// Compiles the package at `folder` for `target`, in release, from its lock file; `more` are
/// further arguments of `cargo build`.
pub(crate) fn build(
    paths: &Paths,
    folder: &Path,
    target: &str,
    more: &[&str],
) -> Result<Vec<Artifact>, BuildError> {
    let ran = process::run(
        Command::new("cargo")
            .args([
                "build",
                "--release",
                "--locked",
                "--message-format=json-render-diagnostics",
            ])
            .args(["--target", target])
            .args(more)
            .arg("--target-dir")
            .arg(paths.cargo_target())
            .current_dir(folder),
    )?;
    artifacts(&ran.stdout)
}

/// The version of the compiler, an input of everything it builds.
pub(crate) fn version() -> Result<String, BuildError> {
    Ok(process::run(Command::new("rustc").arg("--version"))?.stdout)
}

fn artifacts(output: &str) -> Result<Vec<Artifact>, BuildError> {
    let mut found = Vec::new();
    for line in output.lines() {
        let message: Value =
            serde_json::from_str(line).map_err(|source| BuildError::CargoMessage {
                line: line.to_owned(),
                source,
            })?;
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let files = message["filenames"].as_array().into_iter().flatten();
        for file in files
            .filter_map(Value::as_str)
            .filter(|file| file.ends_with(".wasm"))
        {
            found.push(Artifact {
                // Cargo names libraries in Rust's spelling.
                name: message["target"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .replace('_', "-"),
                file: PathBuf::from(file),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_webassembly_counts_and_keeps_its_kebab_name() {
        let output = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"wasip2"},"filenames":["/t/libwasip2.rlib"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"read_files"},"filenames":["/t/read_files.wasm"]}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let expected = Artifact {
            name: "read-files".to_owned(),
            file: PathBuf::from("/t/read_files.wasm"),
        };
        assert_eq!(artifacts(output).unwrap(), [expected]);
    }

    #[test]
    fn a_line_that_is_not_json_is_shown() {
        let failed = artifacts("warning: hello").unwrap_err();
        assert!(failed.to_string().contains("`warning: hello`"), "{failed}");
    }
}
