//! Version 1 manifests, converted to version 2.

use crate::fields::{Ask, Fields, list, text};
use crate::hosts::{Databases, convert_legacy};
use crate::names::{Case, check_id};
use crate::node::{Entry, Node, Spanned, Value};

use super::written::{
    ApplicationTable, ComponentRef, ComponentTable, Manifest, TriggerTable, VariableTable,
    plain_text,
};

/// Reads everything except the version, which the caller has taken.
pub(super) fn read(mut fields: Fields<'_>) -> Manifest {
    let sink = fields.ask.sink;
    let name = fields.required("name", text);
    let version = plain_text(&mut fields, "version");
    let description = plain_text(&mut fields, "description");
    let authors = fields
        .list("authors", text)
        .into_iter()
        .map(|author| author.value)
        .collect();
    let trigger = fields.required("trigger", trigger);
    let variables = fields.map("variables", |node, ask| VariableTable::read(node, ask));
    let written = fields.optional("component", |node, ask| {
        list(node, ask, |node, ask| {
            let owner = match id(&node) {
                Some(id) => Ask::new(sink, format!("component `{id}`")),
                None => ask.clone(),
            };
            component(node, &owner)
        })
    });
    fields.done();

    let (components, triggers): (_, Vec<_>) = written.unwrap_or_default().into_iter().unzip();
    let triggers = triggers.into_iter().flatten().collect();
    let (settings, triggers) = match trigger {
        Some((kind, settings)) => (vec![(kind.clone(), settings)], vec![(kind, triggers)]),
        None => Default::default(),
    };
    let application = ApplicationTable {
        name,
        version,
        description,
        authors,
        settings,
    };
    Manifest {
        application,
        variables,
        triggers,
        components,
    }
}

/// `trigger = { type, … }`: the type, and the rest as its settings.
fn trigger(node: Node, ask: &Ask<'_>) -> Option<(Spanned<String>, Node)> {
    let mut fields = Fields::of(node, ask)?;
    let kind = fields.required("type", text)?;
    let at = fields.at;
    Some((
        kind,
        Node {
            at,
            value: Value::Table(fields.rest()),
        },
    ))
}

/// One `[[component]]` with its id, and the trigger written inside it.
type Written = ((Spanned<String>, ComponentTable), Option<TriggerTable>);

fn component(node: Node, ask: &Ask<'_>) -> Option<Written> {
    let before = ask.sink.noted();
    let mut fields = Fields::of(node, ask)?;
    let id = fields.required("id", text);
    let mut component = ComponentTable::common(&mut fields);
    component.variables = fields.map("config", text);
    component.variables_field = "config";
    let outbound = fields.optional("allowed_outbound_hosts", |node, ask| list(node, ask, text));
    let databases = match outbound {
        Some(_) => Databases::Denied,
        None => Databases::Allowed,
    };
    let legacy = std::mem::take(&mut component.allowed_http_hosts);
    let converted = convert_legacy(&legacy, databases, &fields.ask.field("allowed_http_hosts"));
    component.allowed_outbound_hosts = outbound.unwrap_or_default();
    component.allowed_outbound_hosts.extend(converted);
    let at = fields.at;
    let config = fields.required("trigger", |node, ask| Some(Fields::of(node, ask)?.rest()));
    fields.done();
    component.whole = ask.sink.noted() == before;

    let id = id.map(|id| Spanned::new(id.at, kebab(&id.value)))?;
    let trigger = config.map(|config| TriggerTable {
        at,
        id: Some(Spanned::new(id.at, format!("trigger-{}", id.value))),
        component: Some(ComponentRef::Named(id.clone())),
        components: Vec::new(),
        dependencies: Vec::new(),
        config,
    });
    Some(((id, component), trigger))
}

/// Ids had fewer rules in version 1. Ids that stay invalid after this repair are reported
/// with all others.
fn kebab(id: &str) -> String {
    match check_id(id, Case::Kebab) {
        Ok(()) => id.to_owned(),
        Err(_) => id.replace('_', "-").to_lowercase(),
    }
}

/// The id of a component that was not read yet, to name it in messages.
fn id(component: &Node) -> Option<String> {
    let Value::Table(entries) = &component.value else {
        return None;
    };
    entries
        .iter()
        .find_map(|Entry { key, node }| match &node.value {
            Value::Text(id) if key.value == "id" => Some(id.clone()),
            _ => None,
        })
}
