//! The checks that manifests and locked applications share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use crate::fields::Ask;
use crate::hosts::{AllowedHost, is_blank};
use crate::model::Variable;
use crate::names::{VariableName, check_digest};
use crate::node::Spanned;
use crate::template::Template;

/// The application's variables, which templates may use.
pub(crate) type Declared = BTreeMap<VariableName, Variable>;

/// Reports what is wrong with a value, or returns it.
pub(crate) fn passed<T, E: Display>(result: Result<T, E>, at: usize, ask: &Ask<'_>) -> Option<T> {
    result.map_err(|error| ask.fault(at, error)).ok()
}

/// Reads a variable's name from a field's name.
pub(crate) fn variable_name(name: &Spanned<String>, ask: &Ask<'_>) -> Option<VariableName> {
    passed(
        VariableName::new(&name.value).map_err(|error| format!("is not a name: {error}")),
        name.at,
        &ask.field(&name.value),
    )
}

/// Reads a template, which may only use declared variables.
pub(crate) fn template(
    text: &Spanned<String>,
    declared: &Declared,
    ask: &Ask<'_>,
) -> Option<Template> {
    let template = passed(Template::parse(&text.value), text.at, ask)?;
    let unknown: BTreeSet<_> = template
        .variables()
        .filter(|name| !declared.contains_key(*name))
        .collect();
    for name in &unknown {
        ask.fault(
            text.at,
            format!("names the variable `{name}`, which is not declared"),
        );
    }
    unknown.is_empty().then_some(template)
}

/// Reads an entry of `allowed_outbound_hosts`. A template is checked with the defaults,
/// if they suffice.
pub(crate) fn allowed_host(
    entry: &Spanned<String>,
    declared: &Declared,
    ask: &Ask<'_>,
) -> Option<Template> {
    let template = template(entry, declared, ask)?;
    let default = |name: &str| {
        declared
            .get(name)
            .and_then(|variable| variable.default.clone())
    };
    let Ok(resolved) = template.resolve(default) else {
        return Some(template);
    };
    if !template.is_literal() && is_blank(&resolved) {
        return Some(template);
    }
    let is_secret = |name: &VariableName| declared.get(name).is_some_and(|it| it.secret);
    let checked = AllowedHost::parse(&resolved).map_err(|error| {
        if template.is_literal() {
            format!("allows {:?}: {error}", entry.value)
        } else if template.variables().any(is_secret) {
            format!(
                "allows {:?}, which the secret default makes no host",
                entry.value
            )
        } else {
            format!("allows {:?}, by default {resolved:?}: {error}", entry.value)
        }
    });
    passed(checked, entry.at, ask).map(|_| template)
}

/// Reads a digest, converted to lower case.
pub(crate) fn digest(digest: &Spanned<String>, ask: &Ask<'_>) -> Option<String> {
    passed(check_digest(&digest.value), digest.at, ask)
}

/// Ids that must be unique.
#[derive(Default)]
pub(crate) struct Ids(BTreeSet<String>);

impl Ids {
    /// Reports an id that was used before.
    pub(crate) fn take(&mut self, id: &Spanned<String>, ask: &Ask<'_>) {
        if !self.0.insert(id.value.clone()) {
            ask.fault(id.at, "is used twice; ids must be unique");
        }
    }
}

/// Reports a reference to a component that does not exist.
pub(crate) fn component_exists<'a>(
    id: &Spanned<String>,
    mut known: impl Iterator<Item = &'a str>,
    ask: &Ask<'_>,
) -> bool {
    let exists = known.any(|known| known == id.value);
    if !exists {
        ask.fault(
            id.at,
            format!("names the component `{}`, which does not exist", id.value),
        );
    }
    exists
}
