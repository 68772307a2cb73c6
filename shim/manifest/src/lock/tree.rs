//! From JSON text to a tree with places.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::fault::Sink;
use crate::node::{Entry, Node, Spanned, Value};

/// Locked applications are six levels deep; trigger configurations may add some.
/// Each level is scanned once more, so depth costs time as well as stack.
const MAX_DEPTH: usize = 32;

/// The tree of a text, or `None` after reporting why it has none.
pub(super) fn parse(text: &str, sink: &Sink<'_>) -> Option<Node> {
    let reader = Reader { text, sink };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => reader.node(raw, 0),
        Err(error) => {
            reader.wrong(0, &error);
            None
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    sink: &'a Sink<'a>,
}

impl<'a> Reader<'a> {
    fn node(&self, raw: &'a RawValue, depth: usize) -> Option<Node> {
        let written = raw.get();
        // A raw value borrows from the text, so that its place is known.
        let at = written.as_ptr() as usize - self.text.as_ptr() as usize;
        if depth > MAX_DEPTH {
            self.sink
                .fault(at, format!("nested more than {MAX_DEPTH} levels deep"));
            return None;
        }
        let value = match written.as_bytes().first() {
            Some(b'{') => self.table(at, written, depth)?,
            Some(b'[') => {
                let elements: Vec<&RawValue> = self.parsed(at, written)?;
                let elements = elements.into_iter();
                Value::List(
                    elements
                        .map(|raw| self.node(raw, depth + 1))
                        .collect::<Option<_>>()?,
                )
            }
            Some(b'"') => Value::Text(self.parsed(at, written)?),
            Some(b't' | b'f') => Value::Bool(self.parsed(at, written)?),
            Some(b'n') => Value::Null,
            _ => Value::Number(self.parsed(at, written)?),
        };
        Some(Node { at, value })
    }

    fn table(&self, at: usize, written: &'a str, depth: usize) -> Option<Value> {
        let Members(members) = self.parsed(at, written)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(members.len());
        let mut names = std::collections::HashSet::with_capacity(members.len());
        for (name, raw) in members {
            let node = self.node(raw, depth + 1)?;
            if !names.insert(name.clone()) {
                self.sink.fault(node.at, format!("`{name}` is there twice"));
            }
            entries.push(Entry {
                key: Spanned::new(node.at, name),
                node,
            });
        }
        Some(Value::Table(entries))
    }

    fn parsed<T: Deserialize<'a>>(&self, at: usize, written: &'a str) -> Option<T> {
        serde_json::from_str(written)
            .map_err(|error| self.wrong(at, &error))
            .ok()
    }

    /// Reports a mistake of syntax in the text that begins at `at`.
    fn wrong(&self, at: usize, error: &serde_json::Error) {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        let inside =
            Sink::json("", &self.text.as_bytes()[at..]).offset(error.line(), error.column());
        self.sink
            .fault(at + inside, format!("not valid JSON: {message}"));
    }
}

/// The members of an object in the order of writing, names that come twice included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<String, String> {
        let sink = Sink::json("spin.json", text.as_bytes());
        let tree = parse(text, &sink);
        sink.into_result(tree)
            .map(|node| node.into_json().to_string())
            .map_err(|f| f.to_string())
    }

    #[test]
    fn values_keep_their_meaning() {
        let text = r#" {"a": [1, -2, 3.5, 18446744073709551615], "b": {"c": null, "d": true}, "é": "\u00e9\n"} "#;
        let expected = r#"{"a":[1,-2,3.5,18446744073709551615],"b":{"c":null,"d":true},"é":"é\n"}"#;
        assert_eq!(json(text), Ok(expected.into()));
    }

    #[test]
    fn places_are_those_of_the_values() {
        let text = "{\n  \"a\": [\n    true ]}";
        let sink = Sink::json("spin.json", text.as_bytes());
        let Some(Node {
            value: Value::Table(entries),
            ..
        }) = parse(text, &sink)
        else {
            panic!("a table");
        };
        let Value::List(list) = &entries[0].node.value else {
            panic!("a list");
        };
        assert_eq!(&text[entries[0].node.at..][..1], "[");
        assert_eq!(&text[list[0].at..][..4], "true");
    }

    #[test]
    fn mistakes_of_syntax_have_a_place() {
        for (text, expected) in [
            (
                "{\n\"a\": }",
                "spin.json:2:6: not valid JSON: expected value",
            ),
            (
                "",
                "spin.json:1:1: not valid JSON: EOF while parsing a value",
            ),
            (
                "{\"a\": 1e999}",
                "spin.json:1:11: not valid JSON: number out of range",
            ),
            ("{\"a\":1,\n\"a\":2}", "spin.json:2:5: `a` is there twice"),
        ] {
            assert_eq!(json(text), Err(expected.into()), "{text:?}");
        }
    }

    #[test]
    fn depth_is_refused_before_it_hurts() {
        let text = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            json(&text),
            Err("spin.json:1:34: nested more than 32 levels deep".into())
        );
        assert!(json(&"{\"a\":".repeat(100_000)).is_err());
    }
}
