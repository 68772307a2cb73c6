//! From a manifest as it was written to what it means.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::check::{Declared, Ids, component_exists, passed, variable_name};
use crate::fault::Sink;
use crate::fields::{Ask, Fields};
use crate::http::{self, Runs};
use crate::middleware;
use crate::model::{Application, Trigger, TriggerKind, Variable};
use crate::names::{Case, check_id};
use crate::node::{Node, Spanned, Value, into_json_map};

use super::ids;
use super::written::{ApplicationTable, ComponentRef, Manifest, TriggerTable, VariableTable};

mod component;
mod dependency;

/// The application, or `None` where the sink knows why there is none.
pub(super) fn application(mut manifest: Manifest, sink: &Sink<'_>) -> Option<Application> {
    ids::assign(&mut manifest);
    let variables = variables(manifest.variables, sink);
    let (components, triggers) = (&manifest.components, manifest.triggers);

    let mut component_ids = Ids::default();
    let checked: Vec<_> = components
        .iter()
        .map(|(id, table)| {
            let ask = Ask::new(sink, format!("component `{}`", id.value));
            passed(
                check_id(&id.value, Case::Kebab).map_err(|e| format!("its id {e}")),
                id.at,
                &ask,
            );
            component_ids.take(id, &ask.field("id"));
            component::read(id, table, components, &variables, &ask)
        })
        .collect();

    let mut trigger_ids = Ids::default();
    let mut asked = Vec::new();
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
        asked.push(dependency::of_trigger(
            &trigger.dependencies,
            components,
            &ask,
        ));
        checked_triggers.push(self::trigger(
            id.value,
            &kind.value,
            trigger,
            components,
            &ask,
        ));
    }

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
    let mut application = Application {
        name: name?.value,
        version,
        description,
        authors,
        oci_image_digest: None,
        variables,
        trigger_settings,
        triggers: checked_triggers.into_iter().collect::<Option<_>>()?,
        components: checked.into_iter().collect::<Option<_>>()?,
    };
    middleware::assign(&mut application, asked);
    Some(application)
}

fn variables(written: Vec<(Spanned<String>, VariableTable)>, sink: &Sink<'_>) -> Declared {
    let ask = Ask::new(sink, "variables");
    let read = |(name, table): (Spanned<String>, VariableTable)| {
        let VariableTable {
            description,
            default,
            secret,
        } = table;
        Some((
            snake_name(&name, &ask)?,
            Variable {
                description,
                default,
                secret,
            },
        ))
    };
    written.into_iter().filter_map(read).collect()
}

/// A variable's name as manifests restrict it: words that begin with a letter.
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
    let kind = match kind {
        "http" => {
            if let Some((role, _)) = table.components.first() {
                ask.field("components")
                    .fault(role.at, "is not for HTTP triggers, which run one component");
            }
            TriggerKind::Http(http::read(runs, Fields::new(table.at, table.config, ask))?)
        }
        _ => {
            let mut config = into_json_map(table.config);
            let component = match runs {
                Runs::Component(id) => Some(id.value),
                Runs::Nothing => None,
                Runs::Unknown => return None,
            };
            if let Some(id) = &component {
                config.insert("component".into(), id.clone().into());
            }
            if !roles.is_empty() {
                config.insert("components".into(), Json::Object(roles));
            }
            TriggerKind::Other {
                trigger_type: kind.to_owned(),
                component,
                config,
            }
        }
    };
    Some(Trigger { id, kind })
}
