//! The top level of the file, and what its tables have in common.

use std::collections::BTreeMap;

use crate::check::passed;
use crate::fault::Sink;
use crate::fields::{Ask, Fields, text};
use crate::names::check_label;
use crate::node::{Node, Spanned, Value};

use super::{RuntimeConfig, Secret, ServiceUrl, network, stores, variables};

pub(super) fn config(root: Node, sink: &Sink<'_>) -> Option<RuntimeConfig> {
    let mut fields = Fields::of(root, &Ask::new(sink, "runtime configuration"))?;
    let config = RuntimeConfig {
        state_dir: fields.optional("state_dir", text).and_then(not_empty),
        log_dir: fields.optional("log_dir", text).and_then(not_empty),
        max_instance_memory: fields
            .optional("max_instance_memory", |node, ask| number(node, ask, 1)),
        variables_providers: variables::providers(&mut fields),
        key_value_stores: by_label(&mut fields, "key_value_store", stores::key_value),
        sqlite_databases: by_label(&mut fields, "sqlite_database", stores::sqlite),
        llm_compute: fields.optional("llm_compute", stores::llm),
        client_tls: fields.list("client_tls", network::client_tls),
        outbound_networking: fields.optional("outbound_networking", network::networking),
        outbound_http: fields.optional("outbound_http", network::http),
        outbound_redis: fields.optional("outbound_redis", network::connections),
        outbound_pg: fields.optional("outbound_pg", network::connections),
        outbound_mysql: fields.optional("outbound_mysql", network::connections),
        outbound_mqtt: fields.optional("outbound_mqtt", network::mqtt),
    };
    fields.done();
    Some(config)
}

fn not_empty(text: Spanned<String>) -> Option<String> {
    Some(text.value).filter(|text| !text.is_empty())
}

/// A table of tables by label.
pub(super) fn by_label<'c, T>(
    fields: &mut Fields<'c>,
    name: &'static str,
    read: impl Fn(Node, &Ask<'c>) -> Option<T>,
) -> BTreeMap<String, T> {
    let ask = fields.ask.field(name);
    let tables = fields.map(name, read).into_iter();
    tables
        .filter_map(|(label, table)| {
            passed(check_label(&label.value), label.at, &ask)?;
            Some((label.value, table))
        })
        .collect()
}

/// A table whose `type` says what else is in it. `read` returns `None` for a type that it
/// does not know; `types` are those that it does.
pub(super) fn typed<'c, T>(
    node: Node,
    ask: &Ask<'c>,
    types: &[&str],
    read: impl FnOnce(&str, &mut Fields<'c>) -> Option<T>,
) -> Option<T> {
    let mut fields = Fields::of(node, ask)?;
    let kind = fields.required("type", text)?;
    if !types.contains(&kind.value.as_str()) {
        let types: Vec<_> = types.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("must be one of {}", types.join(", "));
        ask.field("type").fault(kind.at, message);
        return None;
    }
    let value = read(&kind.value, &mut fields);
    fields.done();
    value
}

/// Text that is not empty.
pub(super) fn some_text(node: Node, ask: &Ask<'_>) -> Option<String> {
    let text = text(node, ask)?;
    if text.value.is_empty() {
        ask.fault(text.at, "must not be empty");
        return None;
    }
    Some(text.value)
}

/// Text that no message shows.
pub(super) fn secret(node: Node, ask: &Ask<'_>) -> Option<Secret> {
    some_text(node, ask).map(Secret::new)
}

/// Reads a URL with one of these schemes.
pub(super) fn url(
    schemes: &'static [&'static str],
) -> impl Fn(Node, &Ask<'_>) -> Option<ServiceUrl> {
    move |node, ask| {
        let text = text(node, ask)?;
        passed(ServiceUrl::parse(&text.value, schemes), text.at, ask)
    }
}

/// A whole number from `least` on.
pub(super) fn number(node: Node, ask: &Ask<'_>, least: u64) -> Option<u64> {
    let Value::Number(number) = &node.value else {
        ask.mismatch(&node, "a whole number");
        return None;
    };
    let number = number.as_u64().filter(|number| *number >= least);
    if number.is_none() {
        ask.fault(node.at, format!("must be a whole number from {least} on"));
    }
    number
}

/// How many of something there may be, at least one.
pub(super) fn count(node: Node, ask: &Ask<'_>) -> Option<usize> {
    number(node, ask, 1).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

/// One of a few words, each with its meaning.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(Node, &Ask<'_>) -> Option<T> {
    move |node, ask| {
        let text = text(node, ask)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            ask.fault(text.at, format!("must be one of {}", words.join(", ")));
        }
        found.map(|(_, meaning)| *meaning)
    }
}
