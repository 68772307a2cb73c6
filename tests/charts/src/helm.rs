//! Runs Helm, isolated from the user's configuration and from any cluster.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use skiff_test_support::tools::{self, ToolError};
use tempfile::TempDir;

/// The release of Kubernetes that charts are rendered for: Helm's default changes with
/// each of its releases.
const KUBERNETES: &str = "1.34.4";

/// The namespace of the documentation.
const NAMESPACE: &str = "skiff-system";

/// What can go wrong with a call of Helm.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// Helm is missing and cannot be built.
    #[error("there is no Helm")]
    Tool(#[from] ToolError),
    /// Helm cannot be run, or has no home.
    #[error("cannot run `{}`", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Helm failed.
    #[error("{said}")]
    Refused {
        /// Its output.
        said: String,
    },
    /// A copy of the chart cannot be made.
    #[error("cannot copy the chart")]
    Copy {
        /// The system's error.
        source: io::Error,
    },
    /// Helm's output is not as expected.
    #[error("Helm's output cannot be read: {0}")]
    Output(String),
}

/// Helm, with its own home folder.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    /// Helm as the cluster's tests use it, built if it is missing.
    ///
    /// # Errors
    ///
    /// When it cannot be built, or its home cannot be made.
    pub fn new() -> Result<Self, HelmError> {
        let program = tools::helm()?;
        let home = TempDir::new().map_err(|source| HelmError::Run {
            program: program.clone(),
            source,
        })?;
        Ok(Self { program, home })
    }

    /// Runs `helm lint --strict` on the chart.
    ///
    /// # Errors
    ///
    /// When it finds anything.
    pub fn lint(&self, chart: &Path) -> Result<String, HelmError> {
        let mut command = self.command(&["lint", "--strict", "--kube-version", KUBERNETES]);
        self.run(command.arg(chart))
    }

    /// The chart's objects with these values, including hooks and tests.
    ///
    /// # Errors
    ///
    /// When schema or templates refuse the values.
    pub fn template(&self, chart: &Path, values: &Path) -> Result<String, HelmError> {
        let mut command = self.command(&["template", "skiff"]);
        command.arg(chart).arg("--values").arg(values);
        self.run(command.args(["--namespace", NAMESPACE, "--kube-version", KUBERNETES]))
    }

    /// The notes that `helm install` would print with these values.
    ///
    /// Only an installation prints notes, and needs a cluster; but a template can include
    /// them, so a copy of the chart gets one that does.
    ///
    /// # Errors
    ///
    /// When schema or templates refuse the values, or the copy cannot be made.
    pub fn notes(&self, chart: &Path, values: &Path) -> Result<String, HelmError> {
        const SHOWING: &str =
            r#"notes: {{ include (print .Template.BasePath "/NOTES.txt") . | toJson }}"#;
        let copy = self.home.path().join("chart");
        let copied = copy_folder(chart, &copy)
            .and_then(|()| fs::write(copy.join("templates/shown.yaml"), SHOWING));
        copied.map_err(|source| HelmError::Copy { source })?;
        let rendered = self.template(&copy, values)?;
        let objects = objects(&rendered)?;
        let notes = objects.iter().find_map(|object| object["notes"].as_str());
        notes
            .map(str::to_owned)
            .ok_or_else(|| HelmError::Output("there are no notes".to_owned()))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", self.home.path()).args(args);
        command
    }

    fn run(&self, command: &mut Command) -> Result<String, HelmError> {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().map_err(|source| HelmError::Run {
            program: self.program.clone(),
            source,
        })?;
        let printed = String::from_utf8_lossy(&stdout).into_owned();
        if status.success() {
            return Ok(printed);
        }
        let said = printed + &String::from_utf8_lossy(&stderr);
        Err(HelmError::Refused { said })
    }
}

/// The objects of a rendered chart, or of any other Kubernetes file.
///
/// # Errors
///
/// When it is not YAML.
pub fn objects(rendered: &str) -> Result<Vec<Value>, HelmError> {
    serde_saphyr::from_multiple(rendered).map_err(|error| HelmError::Output(error.to_string()))
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}
