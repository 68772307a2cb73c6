//! Text with `{{ variable }}` in it.

use std::fmt;

use crate::names::{VariableName, VariableNameError};

/// A text in which `{{ name }}` stands for the value of a variable. There are no other
/// features: no defaults, no functions, and a single `{` is literal.
///
/// ```
/// use skiff_manifest::Template;
/// let template = Template::parse("https://{{ host }}/v1").unwrap();
/// let url = template.resolve(|name| (name == "host").then(|| "example.com".to_owned()));
/// assert_eq!(url.unwrap(), "https://example.com/v1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(VariableName),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// `{{` without `}}`, and anything but a variable's name between them.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, opened)) = rest.split_once("{{") {
            let (name, after) = opened.split_once("}}").ok_or(TemplateError::Unclosed)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let name = name.trim();
            let variable = VariableName::new(name).map_err(|source| TemplateError::Name {
                name: name.to_owned(),
                source,
            })?;
            parts.push(Part::Variable(variable));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Template {
            text: text.to_owned(),
            parts,
        })
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it uses no variables, so that the text is the value.
    pub fn is_literal(&self) -> bool {
        self.variables().next().is_none()
    }

    /// The variables used, in order and with repetitions.
    pub fn variables(&self) -> impl Iterator<Item = &VariableName> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Variable(name) => Some(name),
        })
    }

    /// Inserts the values of the variables.
    ///
    /// # Errors
    /// Names the first variable for which `value` returns nothing.
    pub fn resolve(
        &self,
        mut value: impl FnMut(&str) -> Option<String>,
    ) -> Result<String, Unresolved> {
        let mut resolved = String::with_capacity(self.text.len());
        for part in &self.parts {
            match part {
                Part::Literal(text) => resolved.push_str(text),
                Part::Variable(name) => match value(name.as_ref()) {
                    Some(text) => resolved.push_str(&text),
                    None => {
                        return Err(Unresolved {
                            variable: name.clone(),
                        });
                    }
                },
            }
        }
        Ok(resolved)
    }
}

/// The text as it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without closing braces.
    #[error("has `{{{{` without `}}}}`")]
    Unclosed,
    /// Something other than a variable's name inside the braces.
    #[error("has `{{{{ {name} }}}}`, where only the name of a variable can stand: {source}")]
    Name {
        /// The text between the braces.
        name: String,
        /// Why it is not a name.
        source: VariableNameError,
    },
}

/// A variable without a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("variable `{variable}` has no value")]
pub struct Unresolved {
    /// The variable.
    pub variable: VariableName,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<String, Unresolved> {
        let template = Template::parse(text).expect("a template");
        template.resolve(|name| match name {
            "host" => Some("example.com".into()),
            "empty" => Some(String::new()),
            "braces" => Some("{{ host }}".into()),
            _ => None,
        })
    }

    #[test]
    fn values_take_the_place_of_names() {
        for (text, expected) in [
            ("", ""),
            ("plain { } }}", "plain { } }}"),
            ("{{host}}", "example.com"),
            ("a{{ host }}b{{\tempty }}c", "aexample.combc"),
            ("{{ braces }}", "{{ host }}"),
        ] {
            assert_eq!(resolve(text), Ok(expected.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn the_variable_without_a_value_is_named() {
        let error = resolve("{{ host }}{{ other }}").expect_err("other has none");
        assert_eq!(error.to_string(), "variable `other` has no value");
    }

    #[test]
    fn only_a_name_stands_in_braces() {
        assert_eq!(Template::parse("a {{ b"), Err(TemplateError::Unclosed));
        for text in ["{{}}", "{{ a | b }}", "{{ a-b }}", "{{ {{ a }} }}"] {
            assert!(
                matches!(Template::parse(text), Err(TemplateError::Name { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_template_keeps_its_text() {
        let template = Template::parse("{{a}}-{{  a }}").expect("a template");
        assert_eq!(template.to_string(), "{{a}}-{{  a }}");
        assert_eq!(template.variables().count(), 2);
        assert!(!template.is_literal());
    }
}
