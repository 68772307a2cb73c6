//! `metadata` of the application, and its requirements on the host.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::fields::{Ask, Fields, text};
use crate::http;
use crate::node::{Node, Spanned, Value, into_json_map};

use super::{OPTIONAL, SUPPORTED_REQUIREMENTS};

/// The known metadata of the application; other keys are for other tools.
#[derive(Default)]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) authors: Vec<String>,
    pub(super) oci_image_digest: Option<String>,
    pub(super) trigger_settings: BTreeMap<String, Map<String, Json>>,
}

pub(super) fn read(node: Node, ask: &Ask<'_>) -> Option<Metadata> {
    let mut fields = Fields::of(node, ask)?;
    let value = |text: Option<Spanned<String>>| text.map(|text| text.value);
    let name = fields.required("name", text).filter(|name| {
        if name.value.is_empty() {
            ask.field("name").fault(name.at, "must not be empty");
        }
        !name.value.is_empty()
    });
    Some(Metadata {
        name: value(name),
        version: value(fields.optional("version", text)).unwrap_or_default(),
        description: value(fields.optional("description", text)).unwrap_or_default(),
        authors: fields
            .list("authors", text)
            .into_iter()
            .map(|author| author.value)
            .collect(),
        oci_image_digest: value(fields.optional("oci_image_digest", text)),
        trigger_settings: settings(&mut fields),
    })
}

/// `triggers` by type, or `trigger` of older writers, which contains its type.
fn settings(fields: &mut Fields<'_>) -> BTreeMap<String, Map<String, Json>> {
    if fields.has("triggers") {
        let settings = fields.map("triggers", |node, ask| {
            let (at, ask) = (node.at, ask.clone());
            match node.value {
                Value::Table(entries) => Some((at, entries, ask)),
                _ => {
                    ask.not_a_table(&node);
                    None
                }
            }
        });
        let checked = settings.into_iter().map(|(kind, (at, entries, ask))| {
            if kind.value == "http" {
                http::check_settings(at, entries.clone(), &ask);
            }
            (kind.value, into_json_map(entries))
        });
        return checked.collect();
    }
    let old = fields.optional("trigger", |node, ask| {
        let mut fields = Fields::of(node, ask)?;
        let kind = fields.required("type", text)?.value;
        let at = fields.at;
        let entries = fields.rest();
        if kind == "http" {
            http::check_settings(at, entries.clone(), ask);
        }
        Some((kind, into_json_map(entries)))
    });
    old.into_iter().collect()
}

/// Reports the requirements that Skiff does not meet.
pub(super) fn requirements(node: Node, ask: &Ask<'_>) -> Option<()> {
    let Value::Table(entries) = node.value else {
        ask.not_a_table(&node);
        return None;
    };
    for entry in entries {
        let optional = matches!(&entry.node.value, Value::Text(value) if value == OPTIONAL);
        let name = entry.key.value.as_str();
        if !optional && !SUPPORTED_REQUIREMENTS.contains(&name) {
            let message = format!("asks for `{name}`, which Skiff does not support");
            ask.fault(entry.key.at, message);
        }
    }
    Some(())
}
