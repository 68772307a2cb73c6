//! The parts of a manifest that only concern building. They are checked, so that typing
//! errors are reported, and then ignored.

use crate::fields::{Ask, Fields, list, text};
use crate::node::{Node, Value};

use super::dependency::DependencyTable;
use super::written::SourceTable;

/// `build` of a component: a table, or a list of the table's values in its order.
pub(super) fn build(node: Node, ask: &Ask<'_>) -> Option<()> {
    if let Value::List(parts) = node.value {
        return build_list(node.at, parts, ask);
    }
    let mut fields = Fields::of(node, ask)?;
    fields.required("command", command);
    fields.optional("workdir", text);
    fields.list("watch", text);
    fields.done();
    Some(())
}

/// `build = ["cargo build"]`, which Spin reads as the command, the working directory and
/// the watched files, in this order.
fn build_list(at: usize, parts: Vec<Node>, ask: &Ask<'_>) -> Option<()> {
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else {
        ask.field("command").fault(at, "is missing");
        return None;
    };
    command(first, &ask.field("command"))?;
    if let Some(workdir) = parts.next() {
        text(workdir, &ask.field("workdir"))?;
    }
    if let Some(watch) = parts.next() {
        list(watch, &ask.field("watch"), text)?;
    }
    Some(())
}

/// `profile.<name>` of a component.
pub(super) fn read(node: Node, ask: &Ask<'_>) -> Option<()> {
    let mut fields = Fields::of(node, ask)?;
    fields.optional("source", SourceTable::read);
    fields.map("environment", text);
    fields.map("dependencies", DependencyTable::read);
    fields.optional("build", |node, ask| {
        if let Value::List(parts) = node.value {
            return build_list(node.at, parts, ask);
        }
        let mut fields = Fields::of(node, ask)?;
        fields.required("command", command);
        fields.done();
        Some(())
    });
    fields.done();
    Some(())
}

/// One entry of `targets`.
pub(super) fn target(node: Node, ask: &Ask<'_>) -> Option<()> {
    match node.value {
        Value::Text(_) => Some(()),
        Value::Table(_) => {
            let mut fields = Fields::of(node, ask)?;
            match fields.has("url") {
                true => fields.required("url", text),
                false => fields.required("path", text),
            };
            fields.done();
            Some(())
        }
        _ => {
            ask.mismatch(&node, "the name of a target, `{ url }` or `{ path }`");
            None
        }
    }
}

fn command(node: Node, ask: &Ask<'_>) -> Option<()> {
    match node.value {
        Value::Text(_) => Some(()),
        Value::List(_) => list(node, ask, text).map(|_| ()),
        _ => {
            ask.mismatch(&node, "a command or a list of commands");
            None
        }
    }
}
