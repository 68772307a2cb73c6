//! Variables in the environment, and in files that extend it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use skiff_manifest::VariableName;

use crate::app::check::Values;
use crate::app::configuration::text_of;

/// More than an environment may have.
const MOST_BYTES: u64 = 1 << 20;

/// Values of `<PREFIX>_<NAME>`, or of `<NAME>` without a prefix.
pub(super) fn values<'a>(
    names: impl Iterator<Item = &'a VariableName>,
    prefix: Option<&str>,
    var: impl Fn(&str) -> Option<String>,
) -> Values {
    let value = |name: &VariableName| {
        let upper = name.to_string().to_ascii_uppercase();
        let value = match prefix {
            Some(prefix) => var(&format!("{prefix}_{upper}")),
            None => var(&upper),
        };
        Some((name.to_string(), value?))
    };
    names.filter_map(value).collect()
}

/// A file of `NAME=VALUE` lines that cannot be used. Its values are not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum DotenvError {
    /// It cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line is none.
    #[error("{}:{line}: expected NAME=VALUE", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
}

/// Reads a file of `NAME=VALUE` lines, with comments, quotes and `export` as shells have
/// them.
///
/// # Errors
/// If it cannot be read, or a line is wrong.
pub(super) fn dotenv(file: &Path) -> Result<BTreeMap<String, String>, DotenvError> {
    let text = text_of(file, MOST_BYTES).map_err(|source| DotenvError::Read {
        file: file.to_owned(),
        source,
    })?;
    let mut values = BTreeMap::new();
    for pair in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = pair.map_err(|error| DotenvError::Line {
            file: file.to_owned(),
            line: line_of(&error, &text),
        })?;
        values.insert(name, value);
    }
    Ok(values)
}

/// The line that an error is about; the last one if it does not tell.
fn line_of(error: &dotenvy::Error, text: &str) -> usize {
    let wrong = match error {
        dotenvy::Error::LineParse(line, _) => line.lines().next(),
        _ => None,
    };
    let lines = text.lines();
    let found = wrong.and_then(|wrong| lines.clone().position(|line| line.trim() == wrong.trim()));
    found.map_or_else(|| lines.count(), |index| index + 1)
}
