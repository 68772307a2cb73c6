//! The allowed names: of variables, ids, labels, packages, digests.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// The name of a variable: `a-z`, `0-9` and single `_`, beginning with a letter
/// and not ending in `_`.
///
/// ```
/// use skiff_manifest::VariableName;
/// assert_eq!(VariableName::new("db_pass").unwrap().as_ref(), "db_pass");
/// assert!(VariableName::new("DB-PASS").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariableName(String);

impl VariableName {
    /// Checks a name.
    ///
    /// # Errors
    /// States which rule the name breaks.
    pub fn new(name: &str) -> Result<Self, VariableNameError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if let Some(found) = name.chars().find(|c| !allowed(*c)) {
            return Err(VariableNameError::Character { found });
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(VariableNameError::Start);
        }
        if name.ends_with('_') {
            return Err(VariableNameError::End);
        }
        if name.contains("__") {
            return Err(VariableNameError::Doubled);
        }
        Ok(VariableName(name.to_owned()))
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for VariableName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Allows looking up a map by variable name with a plain string.
impl Borrow<str> for VariableName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for VariableName {
    type Err = VariableNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        VariableName::new(name)
    }
}

/// Why a text is not a variable's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableNameError {
    /// A character that is not allowed in names.
    #[error("a variable name has only lower-case letters, digits and `_`, not {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
    /// It is empty, or begins with a digit or `_`.
    #[error("a variable name begins with a lower-case letter")]
    Start,
    /// It ends in `_`.
    #[error("a variable name does not end in `_`")]
    End,
    /// It has `__`.
    #[error("a variable name has no two `_` in a row")]
    Doubled,
}

/// The two spellings of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// Words joined by `-`.
    Kebab,
    /// Words joined by `_`.
    Snake,
    /// Words joined by `_`, without capitals.
    LowerSnake,
}

impl Case {
    fn joint(self) -> char {
        if self == Case::Kebab { '-' } else { '_' }
    }
}

/// Checks an id: words that begin with a letter, each in a single case. The error is the
/// rest of a sentence that begins with the id.
pub(crate) fn check_id(id: &str, case: Case) -> Result<(), String> {
    let joint = case.joint();
    let wrong_joint = if joint == '-' { '_' } else { '-' };
    if id.is_empty() {
        return Err("must not be empty".into());
    }
    if id.contains(wrong_joint) {
        return Err(format!(
            "must join its words with `{joint}`, not `{wrong_joint}`"
        ));
    }
    for word in id.split(joint) {
        if !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(format!(
                "must have words that begin with a letter, which {word:?} does not"
            ));
        }
        if let Some(found) = word.chars().find(|c| !c.is_ascii_alphanumeric()) {
            return Err(format!(
                "must have only letters, digits and `{joint}`, not {found:?}"
            ));
        }
        let upper = word.chars().any(|c| c.is_ascii_uppercase());
        let lower = word.chars().any(|c| c.is_ascii_lowercase());
        if upper && (lower || case == Case::LowerSnake) {
            return Err(match case {
                Case::LowerSnake => format!("must be in lower case, which {word:?} is not"),
                _ => format!("must not mix capitals and small letters in {word:?}"),
            });
        }
    }
    Ok(())
}

/// Checks the label of a store or database: kebab or snake case.
pub(crate) fn check_label(label: &str) -> Result<(), String> {
    if check_id(label, Case::Kebab).is_ok() || check_id(label, Case::Snake).is_ok() {
        return Ok(());
    }
    Err(format!(
        "has the label {label:?}, which is neither kebab-case nor snake_case"
    ))
}

/// Checks `namespace:name`.
pub(crate) fn check_package(package: &str) -> Result<(), String> {
    let parts = package.split_once(':');
    let valid = parts.is_some_and(|(namespace, name)| {
        check_id(namespace, Case::Kebab).is_ok() && check_id(name, Case::Kebab).is_ok()
    });
    match valid {
        true => Ok(()),
        false => Err(format!(
            "must be a package as `namespace:name`, not {package:?}"
        )),
    }
}

/// Checks `sha256:<64 hex digits>` and returns it in lower case.
pub(crate) fn check_digest(digest: &str) -> Result<String, String> {
    let hex = digest.strip_prefix("sha256:");
    let valid =
        hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    match valid {
        true => Ok(digest.to_ascii_lowercase()),
        false => Err(format!(
            "must be `sha256:` and 64 hex digits, not {digest:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_names_follow_their_rules() {
        for name in ["a", "abc", "a1b2", "a_1", "a_b_c"] {
            assert_eq!(
                VariableName::new(name).map(|n| n.to_string()),
                Ok(name.to_owned())
            );
        }
        for (name, error) in [
            ("", VariableNameError::Start),
            ("1a", VariableNameError::Start),
            ("_a", VariableNameError::Start),
            ("a_", VariableNameError::End),
            ("a__b", VariableNameError::Doubled),
            ("a-b", VariableNameError::Character { found: '-' }),
            ("aB", VariableNameError::Character { found: 'B' }),
            ("ä", VariableNameError::Character { found: 'ä' }),
        ] {
            assert_eq!(VariableName::new(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn ids_are_words_of_one_case() {
        for id in ["cart", "my-cart2", "my-API", "A1"] {
            assert_eq!(check_id(id, Case::Kebab), Ok(()), "{id:?}");
        }
        for id in ["", "-a", "a--b", "a-", "1a", "a_b", "aB", "a-2", "a.b", "ä"] {
            assert!(check_id(id, Case::Kebab).is_err(), "{id:?}");
        }
        assert_eq!(check_id("mixed_CASE", Case::Snake), Ok(()));
        assert!(check_id("mixed_CASE", Case::LowerSnake).is_err());
        assert!(check_id("a_1", Case::LowerSnake).is_err());
    }

    #[test]
    fn digests_come_out_in_lower_case() {
        let digest = format!("sha256:{}", "A0".repeat(32));
        assert_eq!(check_digest(&digest), Ok(digest.to_ascii_lowercase()));
        for wrong in ["", "sha256:", "sha512:00", &digest[..70], &"0".repeat(71)] {
            assert!(check_digest(wrong).is_err(), "{wrong:?}");
        }
    }
}
