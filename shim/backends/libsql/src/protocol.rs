//! Hrana of version 3 in JSON: the parts of it that are used here.
//!
//! What a server sends is bounded while it is read, so that little text does not become much
//! memory.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use skiff_host::{MOST_RESULT, SqlValue};

use crate::server::Failure;

/// Servers need not write the padding of base64.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The most bytes of an error's text and its code.
const MOST_WORDS: usize = 4 << 10;

/// Codes of SQLite that are about the database and not about a statement.
const OF_SERVER: [&str; 10] = [
    "SQLITE_BUSY",
    "SQLITE_CANTOPEN",
    "SQLITE_CORRUPT",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_LOCKED",
    "SQLITE_NOMEM",
    "SQLITE_NOTADB",
    "SQLITE_PERM",
    "SQLITE_READONLY",
];

#[derive(Serialize)]
struct Pipeline<'a> {
    baton: Option<&'a str>,
    requests: &'a [Request<'a>],
}

/// A request for a stream.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Request<'a> {
    Execute { stmt: Statement<'a> },
    GetAutocommit,
    Close,
}

#[derive(Serialize)]
pub(crate) struct Statement<'a> {
    sql: &'a str,
    args: Vec<Parameter<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Parameter<'a> {
    Null,
    Integer { value: String },
    Float { value: f64 },
    Text { value: &'a str },
    Blob { base64: String },
}

impl<'a> Request<'a> {
    /// # Errors
    /// A parameter that JSON does not have.
    pub(crate) fn execute(sql: &'a str, parameters: &'a [SqlValue]) -> Result<Self, String> {
        let args = parameters.iter().map(Parameter::new);
        let args = args.collect::<Result<_, _>>()?;
        let stmt = Statement { sql, args };
        Ok(Request::Execute { stmt })
    }
}

impl<'a> Parameter<'a> {
    fn new(value: &'a SqlValue) -> Result<Self, String> {
        Ok(match value {
            SqlValue::Null => Parameter::Null,
            SqlValue::Integer(number) => Parameter::Integer {
                value: number.to_string(),
            },
            // SQLite takes it for nothing as well.
            SqlValue::Real(number) if number.is_nan() => Parameter::Null,
            SqlValue::Real(number) if number.is_infinite() => {
                return Err("an infinite number cannot be sent to the server".to_owned());
            }
            SqlValue::Real(number) => Parameter::Float { value: *number },
            SqlValue::Text(text) => Parameter::Text { value: text },
            SqlValue::Blob(bytes) => Parameter::Blob {
                base64: BASE64.encode(bytes),
            },
        })
    }
}

/// The body of a request.
pub(crate) fn pipeline(baton: Option<&str>, requests: &[Request<'_>]) -> Vec<u8> {
    let pipeline = Pipeline { baton, requests };
    serde_json::to_vec(&pipeline).expect("all of it is text and finite numbers")
}

/// The body of a response.
#[derive(Deserialize)]
pub(crate) struct Answer {
    baton: Option<String>,
    base_url: Option<String>,
    results: Bounded<Outcome>,
}

/// What one of the requests has led to.
#[derive(Deserialize)]
struct Outcome {
    #[serde(rename = "type")]
    kind: OutcomeKind,
    response: Option<Response>,
    error: Option<Problem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeKind {
    Ok,
    Error,
}

#[derive(Deserialize)]
struct Response {
    result: Option<StatementResult>,
    is_autocommit: Option<bool>,
}

/// Why a statement did not run.
#[derive(Deserialize)]
pub(crate) struct Problem {
    message: String,
    code: Option<String>,
}

impl Problem {
    /// Whether the database does not work, whatever it is asked.
    pub(crate) fn is_of_server(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        OF_SERVER.iter().any(|known| code.starts_with(known))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.message.floor_char_boundary(MOST_WORDS);
        f.write_str(&self.message[..end])
    }
}

/// What a statement has found.
#[derive(Deserialize)]
pub(crate) struct StatementResult {
    pub(crate) cols: Bounded<Column>,
    pub(crate) rows: Bounded<Bounded<Wire>>,
    #[serde(default)]
    pub(crate) affected_row_count: u64,
    #[serde(default, deserialize_with = "whole_number")]
    pub(crate) last_insert_rowid: Option<i64>,
}

#[derive(Deserialize)]
pub(crate) struct Column {
    pub(crate) name: Option<String>,
}

/// The answer to a statement and to the question whether a transaction is open.
pub(crate) struct Parts {
    pub(crate) baton: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) result: Result<StatementResult, Problem>,
    pub(crate) is_autocommit: bool,
}

impl Answer {
    pub(crate) fn read(json: &[u8]) -> Result<Self, Failure> {
        // Without the parser's words, which quote what they do not understand.
        serde_json::from_slice(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Failure::Other(format!(
                "its answer is not what the protocol says, at line {line}, column {column}"
            ))
        })
    }

    pub(crate) fn of_statement(self) -> Result<Parts, Failure> {
        let wrong = |what: &str| Failure::Other(format!("its answer {what}"));
        let results = self.results.whole().unwrap_or_default();
        let Ok([statement, autocommit]) = <[Outcome; 2]>::try_from(results) else {
            return Err(wrong("does not have as many results as it was asked for"));
        };
        let result = match statement.kind {
            OutcomeKind::Ok => {
                let result = statement.response.and_then(|response| response.result);
                Ok(result.ok_or_else(|| wrong("has no result of the statement"))?)
            }
            OutcomeKind::Error => {
                let error = statement.error;
                Err(error.ok_or_else(|| wrong("has an error without words"))?)
            }
        };
        let is_autocommit = autocommit
            .response
            .and_then(|response| response.is_autocommit)
            .ok_or_else(|| wrong("does not say whether a transaction is open"))?;
        Ok(Parts {
            baton: self.baton,
            base_url: self.base_url,
            result,
            is_autocommit,
        })
    }
}

/// How many bytes the host holds for something.
trait Size {
    fn size(&self) -> usize;
}

impl Size for Outcome {
    /// What is in it is bounded on its own.
    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

impl Size for Column {
    fn size(&self) -> usize {
        size_of::<Self>() + self.name.as_ref().map_or(0, String::len)
    }
}

impl Size for Wire {
    fn size(&self) -> usize {
        self.0.size()
    }
}

impl<T: Size> Size for Bounded<T> {
    fn size(&self) -> usize {
        let items = self.0.as_ref();
        let inside: usize = items.map_or(MOST_RESULT, |items| items.iter().map(T::size).sum());
        size_of::<Self>() + inside
    }
}

/// A list, unless it takes more than the bytes of a result.
pub(crate) struct Bounded<T>(Option<Vec<T>>);

impl<T> Bounded<T> {
    pub(crate) fn whole(self) -> Option<Vec<T>> {
        self.0
    }
}

impl<'de, T: Deserialize<'de> + Size> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Size> Visitor<'de> for Items<T> {
            type Value = Bounded<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Bounded<T>, A::Error> {
                let (mut all, mut size) = (Vec::new(), 0);
                while let Some(item) = items.next_element::<T>()? {
                    size += item.size();
                    if size > MOST_RESULT {
                        drop((all, item));
                        while items.next_element::<IgnoredAny>()?.is_some() {}
                        return Ok(Bounded(None));
                    }
                    all.push(item);
                }
                Ok(Bounded(Some(all)))
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// A value as it is written.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "type")]
    kind: Kind,
    value: Option<Scalar>,
    base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Null,
    Integer,
    Float,
    Text,
    Blob,
}

/// A value of SQLite from a server.
#[derive(Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Wire(pub(crate) SqlValue);

impl TryFrom<Written> for Wire {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        let value = match (written.kind, written.value, written.base64) {
            (Kind::Null, _, _) => SqlValue::Null,
            (Kind::Integer, Some(number), _) => {
                SqlValue::Integer(number.whole().ok_or("not a whole number")?)
            }
            (Kind::Float, Some(Scalar::Real(number)), _) => SqlValue::Real(number),
            (Kind::Float, Some(Scalar::Integer(number)), _) => SqlValue::Real(number as f64),
            (Kind::Text, Some(Scalar::Text(text)), _) => SqlValue::Text(text),
            (Kind::Blob, _, Some(base64)) => {
                let bytes = BASE64.decode(base64);
                SqlValue::Blob(bytes.map_err(|_| "not base64")?)
            }
            _ => return Err("not a value of its type"),
        };
        Ok(Wire(value))
    }
}

/// A text or a number.
enum Scalar {
    Text(String),
    Integer(i64),
    Real(f64),
}

impl Scalar {
    /// Whole numbers are text, as JSON's would lose digits.
    fn whole(&self) -> Option<i64> {
        match self {
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Integer(number) => Some(*number),
            Scalar::Real(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                let whole = i64::try_from(number).map(Scalar::Integer);
                Ok(whole.unwrap_or(Scalar::Real(number as f64)))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::Real(number))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(scalar) = Option::<Scalar>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let whole = scalar.whole();
    whole
        .map(Some)
        .ok_or_else(|| D::Error::custom("not a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cols: &str, rows: &str) -> Result<StatementResult, Failure> {
        let json = format!(
            r#"{{"baton":null,"base_url":null,"results":[
                {{"type":"ok","response":{{"type":"execute","result":{{"cols":{cols},"rows":{rows},"affected_row_count":1,"last_insert_rowid":"7"}}}}}},
                {{"type":"ok","response":{{"type":"get_autocommit","is_autocommit":true}}}}]}}"#
        );
        let parts = Answer::read(json.as_bytes())?.of_statement()?;
        Ok(parts.result.ok().expect("a result"))
    }

    #[test]
    fn little_text_that_would_be_much_memory_is_not_kept() {
        let rows = format!(
            "[{}[]]",
            "[],".repeat(MOST_RESULT / size_of::<Bounded<Wire>>())
        );
        let result = answer("[]", &rows).unwrap();
        assert!(result.rows.whole().is_none());
        let columns = format!("[{}{{}}]", "{},".repeat(MOST_RESULT / size_of::<Column>()));
        let result = answer(&columns, "[]").unwrap();
        assert!(result.cols.whole().is_none());
    }

    #[test]
    fn a_value_is_read_as_its_type_says() {
        let row = r#"[[{"type":"null"},{"type":"integer","value":"-9223372036854775808"},
            {"type":"integer","value":5},{"type":"float","value":1},{"type":"float","value":-0.5},
            {"type":"text","value":"a\u0000b"},{"type":"blob","base64":"/w"},
            {"type":"blob","base64":"/w=="}]]"#;
        let result = answer(r#"[{"name":null,"decltype":null}]"#, row).unwrap();
        assert_eq!(
            (result.affected_row_count, result.last_insert_rowid),
            (1, Some(7))
        );
        let row = result.rows.whole().unwrap().pop().unwrap();
        let values: Vec<_> = row.whole().unwrap().into_iter().map(|v| v.0).collect();
        assert_eq!(
            values,
            [
                SqlValue::Null,
                SqlValue::Integer(i64::MIN),
                SqlValue::Integer(5),
                SqlValue::Real(1.0),
                SqlValue::Real(-0.5),
                SqlValue::Text("a\0b".to_owned()),
                SqlValue::Blob(vec![0xff]),
                SqlValue::Blob(vec![0xff]),
            ]
        );
        for wrong in [
            r#"{"type":"integer","value":"1.5"}"#,
            r#"{"type":"integer","value":1.5}"#,
            r#"{"type":"float","value":"1"}"#,
            r#"{"type":"text","value":1}"#,
            r#"{"type":"text"}"#,
            r#"{"type":"blob","base64":"?"}"#,
            r#"{"type":"date","value":"s3cret"}"#,
            r#"{"value":"s3cret"}"#,
            "7",
        ] {
            let failure = answer("[]", &format!("[[{wrong}]]")).err().unwrap();
            let text = failure.to_string();
            assert!(
                text.contains("not what the protocol says"),
                "{wrong}: {text}"
            );
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}
