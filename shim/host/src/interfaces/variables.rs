//! A component's variables, and the interfaces that read them: all versions of Spin's, and
//! `wasi:config`.

mod spin_config;
mod spin_v2;
mod spin_v3;
mod wasi_config;

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_manifest::{Template, VariableName};
use wasmtime::component::Linker;

use crate::state::State;

/// A component's variables: templates with the application's values.
#[derive(Debug, Clone, Default)]
pub struct Variables(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    templates: BTreeMap<VariableName, Template>,
    values: Arc<BTreeMap<String, String>>,
}

/// A template that cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[error("variable `{name}` of component `{component}` cannot be resolved: {reason}")]
pub struct VariablesError {
    /// The component's id.
    pub component: String,
    /// The component's variable.
    pub name: String,
    /// The cause.
    pub reason: String,
}

impl Variables {
    /// A component's templates with the application's values, which are fixed at start.
    /// Every template is resolved once to check it.
    ///
    /// # Errors
    /// The first template that cannot be resolved.
    pub fn new(
        component: &str,
        templates: BTreeMap<VariableName, Template>,
        values: Arc<BTreeMap<String, String>>,
    ) -> Result<Self, VariablesError> {
        let variables = Variables(Arc::new(Inner { templates, values }));
        for name in variables.0.templates.keys() {
            variables.resolve(name).map_err(|reason| VariablesError {
                component: component.to_owned(),
                name: name.to_string(),
                reason,
            })?;
        }
        Ok(variables)
    }

    fn resolve(&self, name: &VariableName) -> Result<String, String> {
        let Some(template) = self.0.templates.get(name) else {
            return Err(format!("no variable for {name}"));
        };
        template
            .resolve(|variable| self.0.values.get(variable).cloned())
            .map_err(|error| error.to_string())
    }

    fn get(&self, name: &str) -> Result<String, Failure> {
        let Ok(checked) = name.parse::<VariableName>() else {
            return Err(Failure::InvalidName(format!(
                "{name:?} is not a variable name"
            )));
        };
        if !self.0.templates.contains_key(&checked) {
            return Err(Failure::Undefined(format!("no variable for {name:?}")));
        }
        self.resolve(&checked).map_err(Failure::Provider)
    }

    fn all(&self) -> Result<Vec<(String, String)>, Failure> {
        self.0
            .templates
            .keys()
            .map(|name| Ok((name.to_string(), self.get(name.as_ref())?)))
            .collect()
    }
}

/// Why a variable cannot be read.
enum Failure {
    InvalidName(String),
    Undefined(String),
    Provider(String),
}

/// Adds all versions; the asynchronous one only if the engine supports concurrent calls.
pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    spin_config::add_to_linker(linker)?;
    spin_v2::add_to_linker(linker)?;
    if concurrency {
        spin_v3::add_to_linker(linker)?;
    }
    wasi_config::add_to_linker(linker)
}
