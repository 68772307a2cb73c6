//! The sample applications, and the steps that all of them need after their component is
//! built.

use std::fs;
use std::path::{Path, PathBuf};

use crate::inputs::{Inputs, files};
use crate::paths::{FileError, Paths};
use crate::publish::{self, Outcome, Stamp};
use crate::{BuildError, cargo, javascript, python};

/// The language of a sample, which determines how its component is built.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Language {
    Rust,
    JavaScript,
    Python,
}

/// One folder of `images/` that is an application.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) language: Language,
    /// The folders that its manifest names under `files`.
    files: &'static [&'static str],
}

/// All samples.
pub(crate) const ALL: &[Sample] = &[
    Sample {
        name: "hello-rust",
        language: Language::Rust,
        files: &[],
    },
    Sample {
        name: "hello-wasi",
        language: Language::Rust,
        files: &[],
    },
    Sample {
        name: "static-site",
        language: Language::Rust,
        files: &["public"],
    },
    Sample {
        name: "guestbook",
        language: Language::Rust,
        files: &[],
    },
    Sample {
        name: "report",
        language: Language::Rust,
        files: &[],
    },
    Sample {
        name: "hello-js",
        language: Language::JavaScript,
        files: &[],
    },
    Sample {
        name: "hello-python",
        language: Language::Python,
        files: &[],
    },
];

/// Builds one sample into `target/images/<name>`.
pub(crate) fn build(sample: &Sample, paths: &Paths) -> Result<Outcome, BuildError> {
    let source = paths.sample(sample.name);
    let tools = match sample.language {
        Language::Rust => cargo::version()?,
        Language::JavaScript => javascript::version()?,
        Language::Python => python::version()?,
    };
    let inputs = Inputs::new()
        .text(&tools)
        // Also the builder itself, so that a change of it takes effect.
        .folder(&paths.builder())?
        .folder(&source)?;
    let stamp = Stamp::new(paths, sample.name, inputs.digest());
    let image = paths.image(sample.name);
    if stamp.holds(&image) {
        return Ok(Outcome::Unchanged);
    }
    stamp.lift()?;

    let component = match sample.language {
        Language::Rust => rust(sample.name, &source, paths)?,
        Language::JavaScript => javascript::build(sample.name, paths)?,
        Language::Python => python::build(sample.name, paths)?,
    };
    let fresh = paths.work(&format!("{}.fresh", sample.name));
    publish::remove(&fresh)?;
    fs::create_dir_all(&fresh).map_err(FileError::at(&fresh))?;
    let size = publish::copy(&component, &fresh.join("app.wasm"))?;
    publish::copy(&source.join("spin.toml"), &fresh.join("spin.toml"))?;
    for folder in sample.files {
        copy_folder(&source.join(folder), &fresh.join(folder))?;
    }
    publish::replace(&fresh, &image)?;
    stamp.set()?;
    Ok(Outcome::Built(format!("a component of {} kB", size / 1000)))
}

fn rust(name: &str, source: &Path, paths: &Paths) -> Result<PathBuf, BuildError> {
    let made = cargo::build(paths, source, "wasm32-wasip2", &[])?;
    let component = made.into_iter().find(|artifact| artifact.name == name);
    let component = component.ok_or_else(|| BuildError::NoResult {
        command: format!("cargo build in {}", source.display()),
        missing: format!("{name}.wasm"),
        output: String::new(),
    })?;
    Ok(component.file)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), FileError> {
    for file in files(from, &[])? {
        let there = to.join(&file);
        let parent = there.parent().unwrap_or(to);
        fs::create_dir_all(parent).map_err(FileError::at(parent))?;
        publish::copy(&from.join(&file), &there)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample that is missing in this table would not be shipped.
    #[test]
    fn every_folder_with_a_manifest_is_a_sample() {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders: Vec<String> = fs::read_dir(images)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("spin.toml").exists())
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        folders.sort();
        let mut known: Vec<&str> = ALL.iter().map(|sample| sample.name).collect();
        known.sort_unstable();
        assert_eq!(folders, known);
    }
}
