//! Takes a parsed tree apart, and reports everything that is wrong with it.

use std::fmt::Display;
use std::rc::Rc;

use crate::fault::{Sink, clip};
use crate::node::{Entry, Node, Spanned, Value};

/// The owner of the value being read, and the sink for mistakes. The owner
/// (`component "cart"`) and the path inside it begin every message, which is often all
/// that reaches the reader.
#[derive(Clone)]
pub(crate) struct Ask<'c> {
    pub(crate) sink: &'c Sink<'c>,
    owner: Rc<str>,
    path: String,
}

/// An owner's name is repeated in all its messages, possibly thousands.
const MAX_OWNER: usize = 256;

impl<'c> Ask<'c> {
    pub(crate) fn new(sink: &'c Sink<'c>, owner: impl Into<Rc<str>>) -> Self {
        let owner = owner.into();
        let short = clip(&owner, MAX_OWNER).map(Rc::from);
        Ask {
            sink,
            owner: short.unwrap_or(owner),
            path: String::new(),
        }
    }

    /// For a field of this value.
    pub(crate) fn field(&self, name: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Ask {
            path: format!("{}{dot}{name}", self.path),
            ..self.clone()
        }
    }

    /// For an element of this list.
    pub(crate) fn element(&self, index: usize) -> Self {
        Ask {
            path: format!("{}[{index}]", self.path),
            ..self.clone()
        }
    }

    pub(crate) fn fault(&self, at: usize, message: impl Display) {
        let Ask { sink, owner, path } = self;
        match path.is_empty() {
            true => sink.fault(at, format!("{owner}: {message}")),
            false => sink.fault(at, format!("{owner}: `{path}` {message}")),
        }
    }

    /// Reports that another kind of value was expected.
    pub(crate) fn mismatch(&self, node: &Node, expected: &str) {
        let kind = match node.value {
            Value::Table(_) => self.sink.table(),
            _ => node.kind(),
        };
        self.fault(node.at, format!("must be {expected}, not {kind}"));
    }

    /// Reports that a table was expected.
    pub(crate) fn not_a_table(&self, node: &Node) {
        self.mismatch(node, self.sink.table());
    }
}

/// The members of one table, taken by name. Members left over at the end are either
/// refused ([`Fields::done`]) or kept ([`Fields::rest`]).
pub(crate) struct Fields<'c> {
    pub(crate) ask: Ask<'c>,
    pub(crate) at: usize,
    entries: Vec<Entry>,
    known: Vec<&'static str>,
}

impl<'c> Fields<'c> {
    /// The members of `node`, which must be a table.
    pub(crate) fn of(node: Node, ask: &Ask<'c>) -> Option<Self> {
        match node.value {
            Value::Table(entries) => Some(Fields::new(node.at, entries, ask)),
            _ => {
                ask.not_a_table(&node);
                None
            }
        }
    }

    pub(crate) fn new(at: usize, entries: Vec<Entry>, ask: &Ask<'c>) -> Self {
        Fields {
            ask: ask.clone(),
            at,
            entries,
            known: Vec::new(),
        }
    }

    /// Whether a member exists and was not taken yet. `null` counts as missing.
    pub(crate) fn has(&self, name: &str) -> bool {
        let written = |entry: &Entry| !matches!(entry.node.value, Value::Null);
        self.entries
            .iter()
            .any(|entry| entry.key.value == name && written(entry))
    }

    /// An optional member. Also `None` if it is wrong, which was reported.
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Node, &Ask<'c>) -> Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let index = self
            .entries
            .iter()
            .position(|entry| entry.key.value == name)?;
        let node = self.entries.swap_remove(index).node;
        match node.value {
            Value::Null => None,
            _ => read(node, &self.ask.field(name)),
        }
    }

    /// A required member.
    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Node, &Ask<'c>) -> Option<T>,
    ) -> Option<T> {
        let mut written = false;
        let value = self.optional(name, |node, ask| {
            written = true;
            read(node, ask)
        });
        if !written {
            self.ask.field(name).fault(self.at, "is missing");
        }
        value
    }

    /// A list of values, empty if absent.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(Node, &Ask<'c>) -> Option<T>,
    ) -> Vec<T> {
        self.optional(name, |node, ask| list(node, ask, read))
            .unwrap_or_default()
    }

    /// A table of values by name, empty if absent.
    pub(crate) fn map<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(Node, &Ask<'c>) -> Option<T>,
    ) -> Vec<(Spanned<String>, T)> {
        self.optional(name, |node, ask| map(node, ask, read))
            .unwrap_or_default()
    }

    /// Refuses all members that were not taken.
    pub(crate) fn done(self) {
        for entry in &self.entries {
            let known: Vec<String> = self.known.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("is not a known field; expected one of {}", known.join(", "));
            self.ask
                .field(&entry.key.value)
                .fault(entry.key.at, message);
        }
    }

    /// The members that were not taken.
    pub(crate) fn rest(self) -> Vec<Entry> {
        self.entries
    }
}

/// A string.
pub(crate) fn text(node: Node, ask: &Ask<'_>) -> Option<Spanned<String>> {
    match node.value {
        Value::Text(text) => Some(Spanned::new(node.at, text)),
        _ => {
            ask.mismatch(&node, "a string");
            None
        }
    }
}

/// A boolean.
pub(crate) fn boolean(node: Node, ask: &Ask<'_>) -> Option<Spanned<bool>> {
    match node.value {
        Value::Bool(value) => Some(Spanned::new(node.at, value)),
        _ => {
            ask.mismatch(&node, "`true` or `false`");
            None
        }
    }
}

/// A list, each element read by `read`. Wrong elements are left out.
pub(crate) fn list<'c, T>(
    node: Node,
    ask: &Ask<'c>,
    read: impl Fn(Node, &Ask<'c>) -> Option<T>,
) -> Option<Vec<T>> {
    let Value::List(nodes) = node.value else {
        ask.mismatch(&node, "a list");
        return None;
    };
    let elements = nodes.into_iter().enumerate();
    Some(
        elements
            .filter_map(|(index, node)| read(node, &ask.element(index)))
            .collect(),
    )
}

/// A table, each member read by `read`. Wrong members are left out.
pub(crate) fn map<'c, T>(
    node: Node,
    ask: &Ask<'c>,
    read: impl Fn(Node, &Ask<'c>) -> Option<T>,
) -> Option<Vec<(Spanned<String>, T)>> {
    let Value::Table(entries) = node.value else {
        ask.not_a_table(&node);
        return None;
    };
    let members = entries.into_iter();
    Some(
        members
            .filter_map(|Entry { key, node }| {
                let value = read(node, &ask.field(&key.value))?;
                Some((key, value))
            })
            .collect(),
    )
}
