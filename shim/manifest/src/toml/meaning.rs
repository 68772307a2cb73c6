//! From a manifest as written to its meaning.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::check::{Declared, Ids, component_exists, passed, variable_name};
use crate::fault::{Rest, Sink};
use crate::fields::{Ask, Fields};
use crate::http;
use crate::middleware;
use crate::model::{Application, Component, Trigger, Variable};
use crate::names::{Case, VariableName, check_id};
use crate::node::{Node, Spanned, Value, into_json_map};
use crate::trigger::{self, Runs};

use super::ids;
use super::written::{ApplicationTable, ComponentRef, Manifest, TriggerTable, VariableTable};

mod component;
mod dependency;

/// The application, or its readable parts if the sink has mistakes.
pub(super) fn application(mut manifest: Manifest, sink: &Sink<'_>) -> Rest {
    ids::assign(&mut manifest);
    let (mut variables, wrong) = variables(manifest.variables, sink);
    let (components, triggers) = (&manifest.components, manifest.triggers);

    let mut complete = true;
    let mut component_ids = Ids::default();
    let mut partial = BTreeSet::new();
    let mut checked = Vec::new();
    for (id, table) in components {
        let before = sink.noted();
        let ask = Ask::new(sink, format!("component `{}`", id.value));
        passed(
            check_id(&id.value, Case::Kebab).map_err(|e| format!("its id {e}")),
            id.at,
            &ask,
        );
        component_ids.take(id, &ask.field("id"));
        let read = component::read(id, table, components, &variables, &ask);
        complete &= read.is_ok();
        let whole = table.whole && sink.noted() == before;
        let source = match read {
            Ok(component) if whole && !names_any(&component, &wrong) => {
                checked.push(component);
                continue;
            }
            Ok(component) => Some(component.source),
            Err(source) => source.map(|source| *source),
        };
        partial.insert(id.value.clone());
        checked.extend(source.map(|source| Component::new(&id.value, source)));
    }
    let known: BTreeSet<String> = checked.iter().map(|c| c.id.clone()).collect();
    for component in &checked {
        if component.composed_with().any(|id| !known.contains(id)) {
            partial.insert(component.id.clone());
        }
    }

    let mut trigger_ids = Ids::default();
    let mut checked_triggers = Vec::new();
    for (kind, trigger) in triggers
        .into_iter()
        .flat_map(|(kind, list)| list.into_iter().map(move |t| (kind.clone(), t)))
    {
        let id = trigger
            .id
            .clone()
            .unwrap_or_else(|| Spanned::new(trigger.at, String::new()));
        let ask = Ask::new(sink, format!("trigger `{}`", id.value));
        trigger_ids.take(&id, &ask.field("id"));
        let asked = dependency::of_trigger(&trigger.dependencies, components, &ask);
        let read = self::trigger(id.value, &kind.value, trigger, components, &variables, &ask);
        complete &= read.is_some();
        let runs = |trigger: &Trigger| trigger.component().is_none_or(|id| known.contains(id));
        checked_triggers.extend(read.filter(runs).map(|trigger| (trigger, asked)));
    }
    let (triggers, asked) = checked_triggers.into_iter().unzip();
    variables.retain(|name, _| !wrong.contains(name));

    let ApplicationTable {
        name,
        version,
        description,
        authors,
        settings,
    } = manifest.application;
    let ask = Ask::new(sink, "application");
    let trigger_settings = trigger_settings(settings, &ask);
    let name = name.filter(|name| {
        if name.value.is_empty() {
            ask.field("name").fault(name.at, "must not be empty");
        }
        !name.value.is_empty()
    });
    if sink.noted() == 0 && !(complete && name.is_some()) {
        // A reader that returns nothing has reported why; this is only a safeguard.
        sink.fault(0, "cannot be read");
    }
    let mut application = Application {
        name: name.map_or_else(String::new, |name| name.value),
        version,
        description,
        authors,
        oci_image_digest: None,
        variables,
        trigger_settings,
        triggers,
        components: checked,
    };
    middleware::assign(&mut application, asked);
    Rest {
        application,
        partial,
    }
}

/// Whether a component has a template that uses one of these variables.
fn names_any(component: &Component, variables: &BTreeSet<VariableName>) -> bool {
    let templates = component.variables.values();
    templates
        .chain(&component.allowed_outbound_hosts)
        .flat_map(|template| template.variables())
        .any(|name| variables.contains(name))
}

/// The variables, and the names of those with mistakes.
fn variables(
    written: Vec<(Spanned<String>, VariableTable)>,
    sink: &Sink<'_>,
) -> (Declared, BTreeSet<VariableName>) {
    let ask = Ask::new(sink, "variables");
    let (mut declared, mut wrong) = (Declared::new(), BTreeSet::new());
    for (name, table) in written {
        let VariableTable {
            description,
            default,
            secret,
            whole,
        } = table;
        let Some(name) = snake_name(&name, &ask) else {
            continue;
        };
        if !whole {
            wrong.insert(name.clone());
        }
        let variable = Variable {
            description,
            default,
            secret,
        };
        declared.insert(name, variable);
    }
    (declared, wrong)
}

/// A variable's name with the stricter rule of manifests: words begin with a letter.
fn snake_name(name: &Spanned<String>, ask: &Ask<'_>) -> Option<crate::names::VariableName> {
    let checked = check_id(&name.value, Case::LowerSnake);
    passed(checked, name.at, &ask.field(&name.value))?;
    variable_name(name, ask)
}

fn trigger_settings(
    written: Vec<(Spanned<String>, Node)>,
    ask: &Ask<'_>,
) -> BTreeMap<String, Map<String, Json>> {
    let mut settings = BTreeMap::new();
    for (kind, Node { at, value }) in written {
        let Value::Table(entries) = value else {
            continue;
        };
        if kind.value == "http" {
            http::check_settings(at, entries.clone(), &ask.field("trigger.http"));
        }
        settings.insert(kind.value, into_json_map(entries));
    }
    settings
}

fn trigger(
    id: String,
    kind: &str,
    table: TriggerTable,
    components: &[(Spanned<String>, super::written::ComponentTable)],
    declared: &Declared,
    ask: &Ask<'_>,
) -> Option<Trigger> {
    let known = || components.iter().map(|(id, _)| id.value.as_str());
    let runs = match table.component {
        None => Runs::Nothing,
        Some(ComponentRef::Named(id)) => {
            match component_exists(&id, known(), &ask.field("component")) {
                true => Runs::Component(id),
                false => Runs::Unknown,
            }
        }
        Some(_) => Runs::Unknown,
    };
    let mut roles = Map::new();
    for (role, refs) in &table.components {
        let ask = ask.field("components").field(&role.value);
        let mut ids = Vec::new();
        for component in &refs.refs {
            if let ComponentRef::Named(id) = component {
                component_exists(id, known(), &ask);
                ids.push(Json::from(id.value.clone()));
            }
        }
        let value = match (refs.listed, ids.pop()) {
            (false, Some(id)) => id,
            (_, last) => ids.into_iter().chain(last).collect(),
        };
        roles.insert(role.value.clone(), value);
    }
    let mut kept = Map::new();
    match table.components.first() {
        Some((role, _)) if kind == "http" => ask
            .field("components")
            .fault(role.at, "is not for HTTP triggers, which run one component"),
        Some(_) => {
            kept.insert("components".into(), Json::Object(roles));
        }
        None => {}
    }
    let fields = Fields::new(table.at, table.config, ask);
    let kind = trigger::read(kind.to_owned(), runs, fields, kept, declared)?;
    Some(Trigger { id, kind })
}
