//! From TOML text to a tree with positions.

use ::toml::Spanned as TomlSpanned;
use ::toml::de::{DeInteger, DeTable, DeValue};
use serde_json::Number;

use crate::fault::Sink;
use crate::node::{Entry, Node, Spanned, Value};

/// The tree of a text, or `None` after reporting why it cannot be read.
pub(crate) fn parse(text: &str, sink: &Sink<'_>) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        sink.fault(error.span().map_or(0, |span| span.start), error.message());
    }
    // Parts recovered from a broken text would cause misleading mistakes.
    errors.is_empty().then(|| Node {
        at: 0,
        value: members(table.into_inner(), sink),
    })
}

/// The members in the order of writing; the parser returns them by name.
fn members(table: DeTable<'_>, sink: &Sink<'_>) -> Value {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            key: Spanned::new(key.span().start, key.into_inner().into_owned()),
            node: node(value, sink),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key.at);
    Value::Table(entries)
}

fn node(value: TomlSpanned<DeValue<'_>>, sink: &Sink<'_>) -> Node {
    let at = value.span().start;
    let wrong = |message: String| {
        sink.fault(at, message);
        Value::Null
    };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(date) => Value::Datetime(date.to_string()),
        DeValue::Integer(number) => match integer(&number) {
            Some(number) => Value::Number(number.into()),
            None => wrong("this number is too large for 64 bits".into()),
        },
        DeValue::Float(number) => match number.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => Value::Number(number),
            None => wrong("this number is not finite".into()),
        },
        DeValue::Array(nodes) => {
            Value::List(nodes.into_iter().map(|value| node(value, sink)).collect())
        }
        DeValue::Table(table) => members(table, sink),
    };
    Node { at, value }
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<String, String> {
        let sink = Sink::toml("spin.toml", text.as_bytes());
        let tree = parse(text, &sink);
        sink.into_result(tree)
            .map(|node| node.into_json().to_string())
            .map_err(|f| f.to_string())
    }

    #[test]
    fn values_keep_their_meaning() {
        assert_eq!(
            json("a = 0x10\nb = -5\nc = 1_000.5\nd = 1979-05-27\ne = [true, 'x']\nf.g = {}"),
            Ok(r#"{"a":16,"b":-5,"c":1000.5,"d":"1979-05-27","e":[true,"x"],"f":{"g":{}}}"#.into())
        );
    }

    #[test]
    fn numbers_without_a_place_in_json_are_refused() {
        assert_eq!(
            json("a = nan\nb = 99999999999999999999\nc = -inf"),
            Err("spin.toml:1:5: this number is not finite\n\
                 spin.toml:2:5: this number is too large for 64 bits\n\
                 spin.toml:3:5: this number is not finite"
                .into())
        );
    }

    #[test]
    fn every_mistake_of_syntax_is_told() {
        let error = json("a = \n[b]\nc = oops\n").expect_err("two mistakes");
        assert_eq!(error.lines().count(), 2, "{error}");
        assert!(error.starts_with("spin.toml:1:"), "{error}");
        assert!(error.contains("\nspin.toml:3:"), "{error}");
    }

    #[test]
    fn depth_is_refused_before_it_hurts() {
        for text in [
            format!("{} = 1", vec!["a"; 100_000].join(".")),
            format!("[{}]", vec!["a"; 100_000].join(".")),
            format!("a = {}", "[".repeat(100_000)),
            format!("a = {}", "{a=".repeat(100_000)),
        ] {
            assert!(json(&text).is_err());
        }
    }
}
