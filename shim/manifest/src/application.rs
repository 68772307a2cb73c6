//! Queries on an application.

use std::collections::{BTreeMap, BTreeSet};

use crate::hosts::{AllowedHost, ChainingTarget};
use crate::model::{
    Application, Component, ContentRef, Dependency, DependencySource, HttpExecutor, HttpRoute,
    HttpTarget, HttpTrigger, Trigger, TriggerKind,
};

impl Application {
    /// An application for a single WebAssembly file: one component on every route,
    /// without grants. `id` is the file's name as the user gave it, so that messages
    /// about the component use a familiar name.
    pub fn single_component(name: &str, id: &str, source: ContentRef) -> Self {
        let http = HttpTrigger {
            route: HttpRoute::Path("/...".into()),
            target: HttpTarget::Component(id.into()),
            executor: HttpExecutor::Http,
        };
        Application {
            name: name.to_owned(),
            version: String::new(),
            description: String::new(),
            authors: Vec::new(),
            oci_image_digest: None,
            variables: BTreeMap::new(),
            trigger_settings: BTreeMap::new(),
            triggers: vec![Trigger {
                id: "http-trigger1".into(),
                kind: TriggerKind::Http(http),
            }],
            components: vec![Component::new(id, source)],
        }
    }

    /// The component with this id.
    pub fn component(&self, id: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.id == id)
    }

    /// The types of its triggers.
    pub fn trigger_types(&self) -> BTreeSet<&str> {
        self.triggers.iter().map(Trigger::trigger_type).collect()
    }

    /// The triggers that a host serving the `known` types cannot serve.
    pub fn unknown_triggers(&self, known: &[&str]) -> Vec<&Trigger> {
        let unknown = |trigger: &&Trigger| !known.contains(&trigger.trigger_type());
        self.triggers.iter().filter(unknown).collect()
    }
}

impl Component {
    /// A component without grants.
    pub fn new(id: &str, source: ContentRef) -> Self {
        Component {
            id: id.to_owned(),
            description: String::new(),
            source,
            environment: BTreeMap::new(),
            files: Vec::new(),
            exclude_files: Vec::new(),
            variables: BTreeMap::new(),
            allowed_outbound_hosts: Vec::new(),
            key_value_stores: Vec::new(),
            databases: Vec::new(),
            ai_models: Vec::new(),
            dependencies: BTreeMap::new(),
            trigger_dependencies: BTreeMap::new(),
        }
    }

    /// The entries of `allowed_outbound_hosts` that need no variable.
    pub fn literal_hosts(&self) -> impl Iterator<Item = AllowedHost> {
        let literal = self
            .allowed_outbound_hosts
            .iter()
            .filter(|entry| entry.is_literal());
        literal.filter_map(|entry| AllowedHost::parse(entry.text()).ok())
    }

    /// Whether it may call other components of the application in the process. Entries
    /// with variables do not count, as they are resolved too late to require it.
    pub fn needs_service_chaining(&self) -> bool {
        self.literal_hosts()
            .any(|host| host.chaining_target().is_some())
    }

    /// The ids of the components that it is composed with.
    pub(crate) fn composed_with(&self) -> impl Iterator<Item = &str> {
        let around = self.trigger_dependencies.values().flatten();
        self.dependencies
            .values()
            .chain(around)
            .filter_map(Dependency::component)
    }
}

impl Dependency {
    /// The component of the application that it names, if any.
    pub fn component(&self) -> Option<&str> {
        match &self.source {
            DependencySource::Component(id) => Some(id),
            DependencySource::Content(_) => None,
        }
    }
}

/// Why an application cannot be reduced to some of its components.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetainError {
    /// A component that does not exist.
    #[error("component `{id}` is to be retained but does not exist; there are {}", known.join(", "))]
    Unknown {
        /// The id that was asked for.
        id: String,
        /// The existing ids.
        known: Vec<String>,
    },
    /// A component may call one that would be removed.
    #[error("component `{component}` may call `{target}`, which is not retained")]
    Chains {
        /// The calling component.
        component: String,
        /// The called component.
        target: String,
    },
    /// A component that may call any other.
    #[error(
        "component `{component}` may call every component (`*.spin.internal`), so all of them have to be retained"
    )]
    ChainsToAll {
        /// The calling component.
        component: String,
    },
}

impl Application {
    /// Keeps the named components, the triggers that run them and the components they are
    /// composed with. Static responses are removed, as they belong to no component. With
    /// no names everything is removed. On an error nothing is changed.
    ///
    /// # Errors
    /// An unknown name, or a component that may call one that would be removed.
    pub fn retain(&mut self, ids: &[&str]) -> Result<(), RetainError> {
        for id in ids {
            if self.component(id).is_none() {
                let known = self
                    .components
                    .iter()
                    .map(|c| format!("`{}`", c.id))
                    .collect();
                return Err(RetainError::Unknown {
                    id: (*id).to_owned(),
                    known,
                });
            }
        }
        for component in self
            .components
            .iter()
            .filter(|c| ids.contains(&c.id.as_str()))
        {
            check_chaining(component, ids)?;
        }
        self.triggers
            .retain(|trigger| trigger.component().is_some_and(|id| ids.contains(&id)));
        let run: BTreeSet<&str> = self
            .triggers
            .iter()
            .filter_map(Trigger::component)
            .collect();
        let composed = self
            .components
            .iter()
            .filter(|c| run.contains(c.id.as_str()));
        let composed = composed.flat_map(Component::composed_with);
        let kept: BTreeSet<String> = run
            .iter()
            .copied()
            .chain(composed)
            .map(str::to_owned)
            .collect();
        self.components
            .retain(|component| kept.contains(&component.id));
        Ok(())
    }
}

fn check_chaining(component: &Component, ids: &[&str]) -> Result<(), RetainError> {
    for host in component.literal_hosts() {
        match host.chaining_target() {
            Some(ChainingTarget::All) => {
                return Err(RetainError::ChainsToAll {
                    component: component.id.clone(),
                });
            }
            Some(ChainingTarget::Component(target)) if !ids.contains(&target) => {
                return Err(RetainError::Chains {
                    component: component.id.clone(),
                    target: target.to_owned(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}
