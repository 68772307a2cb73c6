//! Reading `spin.toml`, versions 1 and 2.
//!
//! Reading has two steps: the written structure (`written`, `dependency`; `v1` converts
//! the old version to the new one), then its meaning (`ids`, `meaning`). Each step
//! continues after mistakes, so that all of them are reported at once.

use crate::fault::{Faults, Rest, Sink};
use crate::fields::{Ask, Fields};
use crate::model::Application;
use crate::node::{Node, Value};

mod dependency;
mod ids;
mod meaning;
mod profile;
pub(crate) mod tree;
mod v1;
mod written;

/// Reads a manifest. `file` is its name in messages.
///
/// A `{ component = … }` dependency stays a reference, and file patterns stay patterns:
/// nothing outside the text is looked up.
///
/// # Errors
/// All mistakes with their line and column, and the readable parts. If the text is not
/// TOML at all, only the syntax errors.
pub fn read(text: &str, file: &str) -> Result<Application, Faults> {
    let sink = Sink::toml(file, text.as_bytes());
    let Some(read) = tree::parse(text, &sink).and_then(|root| application(root, &sink)) else {
        return sink.into_result(None);
    };
    if sink.noted() == 0 {
        return Ok(read.application);
    }
    sink.into_result(None).map_err(|faults| Faults {
        rest: Some(Box::new(read)),
        ..faults
    })
}

fn application(root: Node, sink: &Sink<'_>) -> Option<Rest> {
    let mut fields = Fields::of(root, &Ask::new(sink, "manifest"))?;
    let manifest = match version(&mut fields)? {
        Version::One => v1::read(fields),
        Version::Two => written::Manifest::read(fields),
    };
    Some(meaning::application(manifest, sink))
}

enum Version {
    One,
    Two,
}

/// Takes the version: the string `"1"` or the integer `2`, nothing else.
fn version(fields: &mut Fields<'_>) -> Option<Version> {
    // An old name of the field; only version 1 has it.
    let old_name = !fields.has("spin_manifest_version") && fields.has("spin_version");
    let name = if old_name {
        "spin_version"
    } else {
        "spin_manifest_version"
    };
    fields.required(name, |node, ask| {
        match &node.value {
            Value::Text(text) if text == "1" => return Some(Version::One),
            Value::Number(number) if number.as_i64() == Some(2) && !old_name => {
                return Some(Version::Two);
            }
            _ => {}
        }
        ask.fault(
            node.at,
            match old_name {
                true => "must be \"1\"; version 2 is called `spin_manifest_version`",
                false => "must be 2, or \"1\" for the old version",
            },
        );
        None
    })
}
