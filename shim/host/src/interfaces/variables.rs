//! A component's variables, and the interfaces that read them: all versions of Spin's, and
//! `wasi:config`.

mod spin_config;
mod spin_v2;
mod spin_v3;
mod values;
mod wasi_config;

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_manifest::{Template, VariableName};
use wasmtime::component::Linker;

use crate::state::State;

pub use values::{Asking, KnownValues, ProviderError, ValueSource, Values, VariablesProvider};

/// A component's variables: templates with the application's values.
#[derive(Debug, Clone, Default)]
pub struct Variables(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    templates: BTreeMap<VariableName, Template>,
    values: Arc<Values>,
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
    /// A component's templates with the application's values. Every template is resolved
    /// once to check it, as far as nobody has to be asked for that.
    ///
    /// # Errors
    /// The first template that cannot be resolved.
    pub fn new(
        component: &str,
        templates: BTreeMap<VariableName, Template>,
        values: Arc<Values>,
    ) -> Result<Self, VariablesError> {
        let variables = Variables(Arc::new(Inner { templates, values }));
        for (name, template) in &variables.0.templates {
            if variables.is_asked(template) {
                continue;
            }
            variables
                .resolve(template)
                .map_err(|reason| VariablesError {
                    component: component.to_owned(),
                    name: name.to_string(),
                    reason,
                })?;
        }
        Ok(variables)
    }

    /// Whether a provider has to be asked for some of them while the guest runs.
    pub(crate) fn are_asked(&self) -> bool {
        let mut templates = self.0.templates.values();
        templates.any(|template| self.is_asked(template))
    }

    fn is_asked(&self, template: &Template) -> bool {
        let mut names = template.variables();
        names.any(|name| self.0.values.is_asked(name.as_ref()))
    }

    fn template(&self, name: &str) -> Result<&Template, Failure> {
        let Ok(checked) = name.parse::<VariableName>() else {
            return Err(Failure::InvalidName(format!(
                "{name:?} is not a variable name"
            )));
        };
        let template = self.0.templates.get(&checked);
        template.ok_or_else(|| Failure::Undefined(format!("no variable for {name:?}")))
    }

    fn resolve(&self, template: &Template) -> Result<String, String> {
        template
            .resolve(|name| self.0.values.known(name).map(str::to_owned))
            .map_err(|error| error.to_string())
    }

    /// A variable for which nobody has to be asked.
    fn get(&self, name: &str) -> Result<String, Failure> {
        let template = self.template(name)?;
        self.resolve(template).map_err(Failure::Provider)
    }

    fn all(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut all = Vec::new();
        for (name, template) in &self.0.templates {
            let value = self.resolve(template).map_err(Failure::Provider)?;
            all.push((name.to_string(), value));
        }
        Ok(all)
    }

    /// Any variable.
    async fn ask(&self, name: &str) -> Result<String, Failure> {
        self.fill(self.template(name)?).await
    }

    async fn ask_all(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut all = Vec::new();
        for (name, template) in &self.0.templates {
            all.push((name.to_string(), self.fill(template).await?));
        }
        Ok(all)
    }

    async fn fill(&self, template: &Template) -> Result<String, Failure> {
        let mut values = BTreeMap::new();
        for name in template.variables() {
            let value = self.0.values.get(name.as_ref()).await;
            let value = value.map_err(|error| Failure::Provider(error.to_string()))?;
            values.extend(value.map(|value| (name.as_ref(), value)));
        }
        template
            .resolve(|name| values.get(name).cloned())
            .map_err(|error| Failure::Provider(error.to_string()))
    }
}

/// Why a variable cannot be read.
enum Failure {
    InvalidName(String),
    Undefined(String),
    Provider(String),
}

/// Adds all versions, for variables for which nobody has to be asked; the asynchronous one
/// only if the engine supports concurrent calls.
pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    spin_config::add_to_linker(linker)?;
    spin_v2::add_to_linker(linker)?;
    if concurrency {
        spin_v3::add_to_linker(linker)?;
    }
    wasi_config::add_to_linker(linker)
}

/// Replaces the functions that cannot wait by ones that can, for a component with
/// variables for which a provider is asked.
pub(crate) fn ask(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    spin_config::ask(linker)?;
    spin_v2::ask(linker)?;
    wasi_config::ask(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
