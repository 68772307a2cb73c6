//! The chart's README, whose list of values is generated from `values.yaml`.

use crate::values::{self, ValuesError};

const BEGIN: &str = "<!-- values -->\n";
const END: &str = "<!-- /values -->";

/// Why there is no README.
#[derive(Debug, thiserror::Error)]
pub enum ReadmeError {
    /// The values do not explain themselves.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// The README has no place for the list.
    #[error("the README has no `<!-- values -->` and `<!-- /values -->`")]
    NoPlace,
}

/// The README with the list of these values.
///
/// # Errors
///
/// When the values do not explain themselves, or the list has no place.
pub fn with_values(readme: &str, values: &str) -> Result<String, ReadmeError> {
    let (before, rest) = readme.split_once(BEGIN).ok_or(ReadmeError::NoPlace)?;
    let (_, after) = rest.split_once(END).ok_or(ReadmeError::NoPlace)?;
    let list = list(values)?;
    Ok(format!("{before}{BEGIN}{list}{END}{after}"))
}

fn list(values: &str) -> Result<String, ValuesError> {
    let mut parts = Vec::new();
    for section in values::sections(values)? {
        let rows = section.rows.iter().map(|row| {
            let meaning = row.meaning.replace('|', "\\|");
            format!("| `{}` | `{}` | {meaning} |\n", row.path, row.default)
        });
        parts.push(format!("### {}\n", section.title));
        parts.extend(section.paragraphs.iter().map(|text| format!("{text}\n")));
        parts.push(
            "| value | default | meaning |\n|---|---|---|\n".to_owned() + &rows.collect::<String>(),
        );
    }
    Ok(parts.join("\n"))
}
