//! Variables of a component, and the interfaces that read them: all versions of
//! Spin's, and `wasi:config`.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_manifest::{Template, VariableName};
use wasmtime::component::{ComponentType, Linker, Lower};

use crate::state::State;

/// A component's variables: templates over the application's values.
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
    /// What is missing.
    pub reason: String,
}

impl Variables {
    /// Templates of a component over the values of the application, which are
    /// fixed when it starts. Every template is resolved once to be sure it can be.
    ///
    /// # Errors
    /// The first that cannot be resolved.
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
                "{name:?} is no variable name"
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

enum Failure {
    InvalidName(String),
    Undefined(String),
    Provider(String),
}

/// `error` of `fermyon:spin/variables@2.0.0` and `spin:variables/variables@3.0.0`.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum VariablesFault {
    #[component(name = "invalid-name")]
    InvalidName(String),
    #[component(name = "undefined")]
    Undefined(String),
    #[component(name = "provider")]
    Provider(String),
    #[component(name = "other")]
    #[allow(
        dead_code,
        reason = "the interface has the case, we have no use for it"
    )]
    Other(String),
}

impl From<Failure> for VariablesFault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::InvalidName(text) => VariablesFault::InvalidName(text),
            Failure::Undefined(text) => VariablesFault::Undefined(text),
            Failure::Provider(text) => VariablesFault::Provider(text),
        }
    }
}

/// `error` of `fermyon:spin/config`.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[allow(
    dead_code,
    reason = "the interface has the cases, we have no use for all"
)]
enum ConfigFault {
    #[component(name = "provider")]
    Provider(String),
    #[component(name = "invalid-key")]
    InvalidKey(String),
    #[component(name = "invalid-schema")]
    InvalidSchema(String),
    #[component(name = "other")]
    Other(String),
}

impl From<Failure> for ConfigFault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::InvalidName(text) => ConfigFault::InvalidKey(text),
            Failure::Undefined(text) | Failure::Provider(text) => ConfigFault::Provider(text),
        }
    }
}

/// `error` of `wasi:config/store`.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[allow(
    dead_code,
    reason = "the interface has the cases, we have no use for all"
)]
enum StoreFault {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

/// Every name these interfaces have, for the list of what is offered.
pub(crate) const INTERFACES: [&str; 4] = [
    "fermyon:spin/config",
    "fermyon:spin/variables@2.0.0",
    "spin:variables/variables@3.0.0",
    "wasi:config/store@0.2.0-draft-2024-09-27",
];

/// Adds all versions. The asynchronous one exists only where the engine can call
/// concurrently.
pub(crate) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    let [config, two, three, store] = INTERFACES;
    linker
        .instance(config)?
        .func_wrap("get-config", |cx, (key,): (String,)| {
            let value = cx.data().grants().variables.get(&key);
            Ok((value.map_err(ConfigFault::from),))
        })?;
    linker
        .instance(two)?
        .func_wrap("get", |cx, (name,): (String,)| {
            let value = cx.data().grants().variables.get(&name);
            Ok((value.map_err(VariablesFault::from),))
        })?;
    if concurrency {
        linker
            .instance(three)?
            .func_wrap_concurrent("get", |accessor, (name,): (String,)| {
                let value = accessor.with(|mut access| access.get().grants().variables.get(&name));
                Box::pin(async move { Ok((value.map_err(VariablesFault::from),)) })
            })?;
    }
    let mut store = linker.instance(store)?;
    store.func_wrap("get", |cx, (key,): (String,)| {
        let value = match cx.data().grants().variables.get(&key) {
            Ok(value) => Ok(Some(value)),
            Err(Failure::InvalidName(_) | Failure::Undefined(_)) => Ok(None),
            Err(Failure::Provider(text)) => Err(StoreFault::Upstream(text)),
        };
        Ok((value,))
    })?;
    store.func_wrap("get-all", |cx, (): ()| {
        let all = cx.data().grants().variables.all();
        let all = all.map_err(|failure| match failure {
            Failure::InvalidName(text) | Failure::Undefined(text) | Failure::Provider(text) => {
                StoreFault::Upstream(text)
            }
        });
        Ok((all,))
    })?;
    Ok(())
}
