//! Reads `values.yaml` for its comments, which say what each value means.
//!
//! A line `## Title` starts a section. A comment directly above a key is that value's
//! meaning, for a map of the whole map; one followed by an empty line is a paragraph of
//! the section. Comments before the first section are for editors of the file.

use serde_json::Value;

/// A titled section of the values.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The title.
    pub title: String,
    /// The paragraphs about all its values.
    pub paragraphs: Vec<String>,
    /// Its values, in the file's order.
    pub rows: Vec<Row>,
}

/// One value.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Its path, for example `image.tag`.
    pub path: String,
    /// Its default, as JSON.
    pub default: String,
    /// Its comment in one line.
    pub meaning: String,
}

/// Why the values cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// The file is not YAML.
    #[error("the values are not YAML: {0}")]
    Yaml(String),
    /// A value has no comment.
    #[error("`{0}` has no comment, and neither does its parent")]
    Silent(String),
    /// A value is before the first title.
    #[error("`{0}` is in no section")]
    NoSection(String),
}

/// The sections of a `values.yaml`.
///
/// # Errors
///
/// When a value is not explained, or the file is not YAML.
pub fn sections(text: &str) -> Result<Vec<Section>, ValuesError> {
    let all: Value =
        serde_saphyr::from_str(text).map_err(|error| ValuesError::Yaml(error.to_string()))?;
    let mut sections: Vec<Section> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut path: Vec<&str> = Vec::new();
    // The depth of the value that the last comment describes: deeper values are part of
    // it.
    let mut explained = usize::MAX;

    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(title) = bare.strip_prefix("## ") {
            comment.clear();
            sections.push(Section {
                title: title.to_owned(),
                ..Section::default()
            });
        } else if let Some(said) = bare.strip_prefix('#') {
            comment.push(said.trim());
        } else if bare.is_empty() {
            if let (Some(section), false) = (sections.last_mut(), comment.is_empty()) {
                section.paragraphs.push(comment.join(" "));
            }
            comment.clear();
        } else if let Some((key, after)) = bare.split_once(':') {
            let depth = (line.len() - bare.len()) / 2;
            if depth > explained {
                continue;
            }
            explained = usize::MAX;
            path.truncate(depth);
            path.push(key);
            let name = path.join(".");
            if comment.is_empty() {
                // A map needs no comment if its values have one.
                if after.trim().is_empty() {
                    continue;
                }
                return Err(ValuesError::Silent(name));
            }
            explained = depth;
            let row = Row {
                default: at(&all, &path).to_string(),
                meaning: std::mem::take(&mut comment).join(" "),
                path: name.clone(),
            };
            let section = sections.last_mut();
            section.ok_or(ValuesError::NoSection(name))?.rows.push(row);
        }
    }
    Ok(sections)
}

fn at<'a>(all: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(all, |value, key| &value[*key])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_sections_paragraphs_and_rows() {
        let text = "# For editors.\n\n## Image\n\n# All of it.\n\nimage:\n  # Which\n  # one.\n  tag: \"\"\n# How much.\nresources:\n  requests:\n    cpu: 10m\n# Last.\nforce: false\n";
        let rows = [
            ("image.tag", r#""""#, "Which one."),
            ("resources", r#"{"requests":{"cpu":"10m"}}"#, "How much."),
            ("force", "false", "Last."),
        ];
        let rows = rows.map(|(path, default, meaning)| Row {
            path: path.into(),
            default: default.into(),
            meaning: meaning.into(),
        });
        let expected = Section {
            title: "Image".into(),
            paragraphs: vec!["All of it.".into()],
            rows: rows.into(),
        };
        assert_eq!(sections(text).unwrap(), [expected]);
    }

    #[test]
    fn a_value_without_a_comment_is_named() {
        let error = sections("## Image\nimage:\n  tag: \"\"\n").unwrap_err();
        assert!(matches!(error, ValuesError::Silent(path) if path == "image.tag"));
    }
}
