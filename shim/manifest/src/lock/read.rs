//! Reading a locked application.

use std::collections::BTreeMap;

use serde_json::Map;

use crate::check::{self, Declared, Ids, component_exists, passed, variable_name};
use crate::dependency_name::DependencyName;
use crate::fault::{Faults, Sink};
use crate::fields::{Ask, Fields, boolean, list, text};
use crate::hosts::{Databases, convert_legacy};
use crate::middleware::{self, ByRole};
use crate::model::{Application, Component, Dependency, Trigger, TriggerKind, Variable};
use crate::node::{Node, Spanned, Value};
use crate::template::Template;
use crate::trigger::{self, Runs};

use super::{UNDERSTOOD, VERSIONS, content, metadata, tree};

/// The maximum number of components, and of triggers, of one application. Each is
/// searched for among all, and each worker keeps every one ready; real applications have
/// at most hundreds.
const MAX_PARTS: usize = 10_000;

/// Reads a locked application. `file` is its name in messages.
///
/// Unknown members are ignored, as the format requires; those that must not be ignored
/// are listed in `must_understand`.
///
/// # Errors
/// All mistakes with their line and column, and the id or path they occur in. If the text
/// is not JSON at all, only the first syntax error.
pub fn read(json: &[u8], file: &str) -> Result<Application, Faults> {
    let sink = Sink::json(file, json);
    let application = match std::str::from_utf8(json) {
        Ok(text) => tree::parse(text, &sink).and_then(|root| application(root, &sink)),
        Err(error) => {
            sink.fault(error.valid_up_to(), "not valid JSON: not UTF-8");
            None
        }
    };
    sink.into_result(application)
}

fn application(root: Node, sink: &Sink<'_>) -> Option<Application> {
    let ask = Ask::new(sink, "locked application");
    let mut fields = Fields::of(root, &ask)?;
    fields.required("spin_lock_version", version);
    fields.list("must_understand", understood);
    fields.optional("host_requirements", metadata::requirements);
    if !fields.has("metadata") {
        ask.field("metadata.name").fault(fields.at, "is missing");
    }
    let metadata = fields
        .optional("metadata", metadata::read)
        .unwrap_or_default();
    let variables = fields.map("variables", variable);
    let variables: Declared = variables
        .into_iter()
        .filter_map(|(name, variable)| {
            Some((variable_name(&name, &ask.field("variables"))?, variable))
        })
        .collect();
    let components = fields.required("components", |node, ask| {
        list(node, ask, |node, ask| {
            Some(component(node, &variables, ask))
        })
    });
    let components: Vec<ComponentRead> = components?;
    if components.len() > MAX_PARTS {
        let message = format!("are {}, over the limit of {MAX_PARTS}", components.len());
        ask.field("components").fault(0, message);
        return None;
    }
    let mut ids = Ids::default();
    for (id, _) in &components {
        if let Some(id) = id {
            ids.take(
                id,
                &Ask::new(sink, format!("component `{}`", id.value)).field("id"),
            );
        }
    }
    let known: Vec<&str> = components
        .iter()
        .filter_map(|(id, _)| Some(id.as_ref()?.value.as_str()))
        .collect();
    let triggers = fields.required("triggers", |node, ask| {
        list(node, ask, |node, ask| {
            Some(trigger(node, &known, &variables, ask))
        })
    });
    let triggers: Vec<TriggerRead> = triggers?;
    if triggers.len() > MAX_PARTS {
        let message = format!("are {}, over the limit of {MAX_PARTS}", triggers.len());
        ask.field("triggers").fault(0, message);
        return None;
    }
    let mut ids = Ids::default();
    for read in &triggers {
        if let Some(id) = &read.id {
            ids.take(
                id,
                &Ask::new(sink, format!("trigger `{}`", id.value)).field("id"),
            );
        }
    }
    let (triggers, asked): (Vec<_>, Vec<_>) = triggers
        .into_iter()
        .map(|read| (read.trigger, read.asked))
        .unzip();
    let mut application = Application {
        name: metadata.name?,
        version: metadata.version,
        description: metadata.description,
        authors: metadata.authors,
        oci_image_digest: metadata.oci_image_digest,
        components: components
            .into_iter()
            .map(|(_, read)| read)
            .collect::<Option<_>>()?,
        variables,
        trigger_settings: metadata.trigger_settings,
        triggers: triggers.into_iter().collect::<Option<_>>()?,
    };
    middleware::assign(&mut application, asked);
    Some(application)
}

fn version(node: Node, ask: &Ask<'_>) -> Option<()> {
    let version = match &node.value {
        Value::Number(number) => number.as_u64().filter(|version| VERSIONS.contains(version)),
        _ => None,
    };
    if version.is_none() {
        ask.fault(
            node.at,
            "must be 0 or 1, the versions of the format that Skiff knows",
        );
    }
    version.map(|_| ())
}

fn understood(node: Node, ask: &Ask<'_>) -> Option<()> {
    let what = text(node, ask)?;
    if !UNDERSTOOD.contains(&what.value.as_str()) {
        ask.fault(
            what.at,
            format!("is `{}`, which Skiff does not understand", what.value),
        );
    }
    Some(())
}

fn variable(node: Node, ask: &Ask<'_>) -> Option<Variable> {
    let mut fields = Fields::of(node, ask)?;
    Some(Variable {
        description: fields.optional("description", text).map(|text| text.value),
        default: fields.optional("default", text).map(|text| text.value),
        secret: fields
            .optional("secret", boolean)
            .is_some_and(|secret| secret.value),
    })
}

/// The fields of a node with an id, and a context that names that id.
fn with_id<'c>(
    node: Node,
    what: &str,
    ask: &Ask<'c>,
) -> Option<(Option<Spanned<String>>, Fields<'c>)> {
    let mut fields = Fields::of(node, ask)?;
    let id = fields.required("id", text);
    if let Some(id) = &id {
        fields.ask = Ask::new(ask.sink, format!("{what} `{}`", id.value));
    }
    Some((id, fields))
}

/// The id if it could be read, so that triggers can refer to components that have other
/// mistakes.
type ComponentRead = (Option<Spanned<String>>, Option<Component>);

fn component(node: Node, declared: &Declared, ask: &Ask<'_>) -> ComponentRead {
    let Some((id, mut fields)) = with_id(node, "component", ask) else {
        return (None, None);
    };
    if let Some(id) = &id {
        passed(check_path_part(&id.value), id.at, &fields.ask.field("id"));
    }
    let component = component_fields(id.as_ref(), &mut fields, declared);
    (id, component)
}

/// Ids become folder names when an artifact is unpacked.
fn check_path_part(id: &str) -> Result<(), &'static str> {
    let unsafe_part = id.contains(['/', '\\']) || id.chars().any(char::is_control);
    match id.is_empty() || matches!(id, "." | "..") || unsafe_part {
        true => Err("must be a name without slashes and control characters"),
        false => Ok(()),
    }
}

fn component_fields(
    id: Option<&Spanned<String>>,
    fields: &mut Fields<'_>,
    declared: &Declared,
) -> Option<Component> {
    let ask = fields.ask.clone();
    let source = fields.required("source", content::wasm);
    let environment = fields.map("env", text);
    let files = fields.list("files", content::file);
    let variables = fields.map("config", |node, ask| {
        let text = text(node, ask)?;
        check::template(&text, declared, ask)
    });
    let variables: BTreeMap<_, Template> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((variable_name(&name, &ask.field("config"))?, value)))
        .collect();
    let dependencies = fields.map("dependencies", content::dependency);
    for (name, _) in &dependencies {
        let ask = ask.field("dependencies").field(&name.value);
        passed(DependencyName::parse(&name.value), name.at, &ask);
    }
    let trigger_dependencies = by_role(fields);
    fields.optional("host_requirements", metadata::requirements);
    let granted = fields.optional("metadata", |node, ask| grants(node, declared, ask));
    let granted = granted.unwrap_or_default();
    Some(Component {
        id: id?.value.clone(),
        description: granted.description,
        source: source?,
        environment: environment
            .into_iter()
            .map(|(k, v)| (k.value, v.value))
            .collect(),
        files,
        exclude_files: Vec::new(),
        variables,
        allowed_outbound_hosts: granted.allowed_outbound_hosts,
        key_value_stores: granted.key_value_stores,
        databases: granted.databases,
        ai_models: granted.ai_models,
        dependencies: dependencies
            .into_iter()
            .map(|(name, value)| (name.value, value))
            .collect(),
        trigger_dependencies,
    })
}

fn by_role(fields: &mut Fields<'_>) -> ByRole {
    let read = |node, ask: &Ask<'_>| list(node, ask, content::dependency);
    let roles: Vec<(_, Vec<Dependency>)> = fields.map("trigger_dependencies", read);
    roles
        .into_iter()
        .map(|(role, dependencies)| (role.value, dependencies))
        .collect()
}

/// `metadata` of a component.
#[derive(Default)]
struct Grants {
    description: String,
    allowed_outbound_hosts: Vec<Template>,
    key_value_stores: Vec<String>,
    databases: Vec<String>,
    ai_models: Vec<String>,
}

fn grants(node: Node, declared: &Declared, ask: &Ask<'_>) -> Option<Grants> {
    let mut fields = Fields::of(node, ask)?;
    let mut hosts = fields.list("allowed_outbound_hosts", text);
    let legacy = fields.list("allowed_http_hosts", text);
    hosts.extend(convert_legacy(
        &legacy,
        Databases::Denied,
        &ask.field("allowed_http_hosts"),
    ));
    let hosts_ask = ask.field("allowed_outbound_hosts");
    let host = |host: &Spanned<String>| check::allowed_host(host, declared, &hosts_ask);
    let mut texts = |name: &'static str| -> Vec<String> {
        fields
            .list(name, text)
            .into_iter()
            .map(|text| text.value)
            .collect()
    };
    Some(Grants {
        key_value_stores: texts("key_value_stores"),
        databases: texts("databases"),
        ai_models: texts("ai_models"),
        description: fields
            .optional("description", text)
            .map(|t| t.value)
            .unwrap_or_default(),
        allowed_outbound_hosts: hosts.iter().filter_map(host).collect(),
    })
}

/// A trigger, as far as it could be read.
#[derive(Default)]
struct TriggerRead {
    id: Option<Spanned<String>>,
    trigger: Option<Trigger>,
    asked: ByRole,
}

fn trigger(node: Node, known: &[&str], declared: &Declared, ask: &Ask<'_>) -> TriggerRead {
    let Some((id, mut fields)) = with_id(node, "trigger", ask) else {
        return TriggerRead::default();
    };
    let kind = fields.required("trigger_type", text);
    let asked = by_role(&mut fields);
    let config = fields.required("trigger_config", Fields::of);
    let kind = kind
        .zip(config)
        .and_then(|(kind, config)| trigger_kind(kind.value, config, known, declared));
    let trigger = id.as_ref().zip(kind).map(|(id, kind)| Trigger {
        id: id.value.clone(),
        kind,
    });
    TriggerRead { id, trigger, asked }
}

fn trigger_kind(
    kind: String,
    mut config: Fields<'_>,
    known: &[&str],
    declared: &Declared,
) -> Option<TriggerKind> {
    let written = config.has("component");
    let ask = config.ask.field("component");
    let exists = |id: &Spanned<String>| component_exists(id, known.iter().copied(), &ask);
    let component = config.optional("component", text).filter(exists);
    let runs = match component {
        Some(id) => Runs::Component(id),
        None if written => Runs::Unknown,
        None => Runs::Nothing,
    };
    trigger::read(kind, runs, config, Map::new(), declared)
}
