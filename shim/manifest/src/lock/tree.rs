//! From JSON text to a tree with positions.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::fault::Sink;
use crate::node::{Entry, Node, Spanned, Value};

/// Locked applications are six levels deep; trigger configurations may add some. Each
/// level is scanned once more, so depth costs time as well as stack.
const MAX_DEPTH: usize = 32;

/// The maximum number of values. Each takes some hundred bytes of memory, however short
/// its text. Each of the up to 100,000 files of an artifact needs three values.
const MAX_VALUES: usize = 1_000_000;

/// The maximum length of a member's name in bytes. Names are repeated in messages, and in
/// the paths that messages begin with.
const MAX_NAME: usize = 1024;

/// The tree of a text, or `None` after reporting why it cannot be read.
pub(crate) fn parse(text: &str, sink: &Sink<'_>) -> Option<Node> {
    let reader = Reader {
        text,
        sink,
        left: Cell::new(MAX_VALUES),
    };
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
    /// How many more values are allowed.
    left: Cell<usize>,
}

impl<'a> Reader<'a> {
    fn node(&self, raw: &'a RawValue, depth: usize) -> Option<Node> {
        let written = raw.get();
        // A raw value borrows from the text, which gives its position.
        let at = written.as_ptr() as usize - self.text.as_ptr() as usize;
        if depth > MAX_DEPTH {
            self.sink
                .fault(at, format!("nested more than {MAX_DEPTH} levels deep"));
            return None;
        }
        let value = match written.as_bytes().first() {
            Some(b'{') => self.table(at, written, depth)?,
            Some(b'[') => {
                let elements: Vec<&RawValue> = self.counted(at, written)?;
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
        let members: Vec<(String, &RawValue)> = self.counted(at, written)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(members.len());
        let mut names = std::collections::HashSet::with_capacity(members.len());
        for (name, raw) in members {
            if name.len() > MAX_NAME {
                self.sink.fault(
                    raw.get().as_ptr() as usize - self.text.as_ptr() as usize,
                    format!(
                        "has a name of {} bytes, over the limit of {MAX_NAME}",
                        name.len()
                    ),
                );
                return None;
            }
            let node = self.node(raw, depth + 1)?;
            if !names.insert(name.clone()) {
                self.sink.fault(node.at, format!("`{name}` occurs twice"));
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

    /// The elements of a list or the members of an object, unless they exceed the limit.
    fn counted<T>(&self, at: usize, written: &'a str) -> Option<Vec<T>>
    where
        for<'r> Counted<'r, T>: DeserializeSeed<'a, Value = Vec<T>>,
    {
        let mut json = serde_json::Deserializer::from_str(written);
        let counted = Counted {
            left: &self.left,
            values: Vec::new(),
        };
        match counted.deserialize(&mut json) {
            Ok(values) => Some(values),
            // The whole text was already found to be valid JSON.
            Err(_) if self.left.get() == 0 => {
                let message = format!("holds more than {MAX_VALUES} values in all");
                self.sink.fault(at, message);
                None
            }
            Err(error) => {
                self.wrong(at, &error);
                None
            }
        }
    }

    /// Reports a syntax error in the text that begins at `at`.
    fn wrong(&self, at: usize, error: &serde_json::Error) {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        let inside =
            Sink::json("", &self.text.as_bytes()[at..]).offset(error.line(), error.column());
        self.sink
            .fault(at + inside, format!("not valid JSON: {message}"));
    }
}

/// Takes one value after the other and stops at the limit, before a list of millions
/// exists. Members are in the order of writing, including duplicate names.
struct Counted<'r, T> {
    left: &'r Cell<usize>,
    values: Vec<T>,
}

impl<T> Counted<'_, T> {
    fn add<E: serde::de::Error>(&mut self, value: T) -> Result<(), E> {
        let left = self.left.get().checked_sub(1);
        let left = left.ok_or_else(|| E::custom("too many values"))?;
        self.left.set(left);
        self.values.push(value);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Counted<'_, &'de RawValue> {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_, &'de RawValue> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
        while let Some(element) = list.next_element()? {
            self.add::<A::Error>(element)?;
        }
        Ok(self.values)
    }
}

impl<'de> DeserializeSeed<'de> for Counted<'_, (String, &'de RawValue)> {
    type Value = Vec<(String, &'de RawValue)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_, (String, &'de RawValue)> {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        while let Some(member) = map.next_entry()? {
            self.add::<A::Error>(member)?;
        }
        Ok(self.values)
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
            ("{\"a\":1,\n\"a\":2}", "spin.json:2:5: `a` occurs twice"),
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

    #[test]
    fn values_are_counted_and_not_bytes() {
        // Two bytes each, in one list and in many.
        let flat = format!("[{}0]", "0,".repeat(MAX_VALUES));
        let expected = "spin.json:1:1: holds more than 1000000 values in all";
        assert_eq!(json(&flat), Err(expected.into()));
        let many = format!("[{}[]]", format!("[{}0],", "0,".repeat(999)).repeat(1001));
        let error = json(&many).unwrap_err();
        assert!(
            error.ends_with("holds more than 1000000 values in all"),
            "{error}"
        );
        let members: String = (0..MAX_VALUES).map(|n| format!("\"{n:x}\":0,")).collect();
        assert!(json(&format!("{{{members}\"x\":0}}")).is_err());
        // A long text is a single value.
        assert!(json(&format!("[\"{}\"]", "x".repeat(4 << 20))).is_ok());
        assert!(json(&format!("[{}0]", "0,".repeat(100_000))).is_ok());
    }

    #[test]
    fn a_name_of_megabytes_is_refused_without_repeating_it() {
        let error = json(&format!("{{\"{}\":[0]}}", "x".repeat(1 << 20))).unwrap_err();
        assert!(error.len() < 200, "{}", error.len());
        assert!(error.contains("a name of 1048576 bytes"), "{error}");
    }
}
