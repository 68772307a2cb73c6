//! Parsed TOML or JSON: a tree in which every value knows its position.

use serde_json::Number;

/// A value and the byte offset of its beginning.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) value: Value,
}

/// The kinds of values in both formats.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// JSON only; treated as missing.
    Null,
    Bool(bool),
    Number(Number),
    /// TOML only.
    Datetime(String),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// One member of a table.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Spanned<String>,
    pub(crate) node: Node,
}

/// A value with the offset at which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub(crate) at: usize,
    pub(crate) value: T,
}

impl<T> Spanned<T> {
    pub(crate) fn new(at: usize, value: T) -> Self {
        Spanned { at, value }
    }
}

impl Node {
    /// The kind of this value, in words that follow "not".
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(number) if number.is_f64() => "a float",
            Value::Number(_) => "an integer",
            Value::Datetime(_) => "a date",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The value without positions. Tables are in key order, so that the resulting JSON
    /// does not depend on the order of writing.
    pub(crate) fn into_json(self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(value),
            Value::Number(number) => Json::Number(number),
            Value::Datetime(text) | Value::Text(text) => Json::String(text),
            Value::List(nodes) => Json::Array(nodes.into_iter().map(Node::into_json).collect()),
            Value::Table(entries) => Json::Object(into_json_map(entries)),
        }
    }
}

/// [`Node::into_json`] for the members of a table.
pub(crate) fn into_json_map(mut entries: Vec<Entry>) -> serde_json::Map<String, serde_json::Value> {
    entries.sort_by(|a, b| a.key.value.cmp(&b.key.value));
    entries
        .into_iter()
        .map(|entry| (entry.key.value, entry.node.into_json()))
        .collect()
}
