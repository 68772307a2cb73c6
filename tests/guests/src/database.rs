//! A database by HTTP, for the guests that call one: the request's body holds statements,
//! one a line, with parameters after `|`, which run on one connection.

use std::fmt::Debug;

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use crate::{answer, body, query, read};

/// What every version of an interface has.
pub trait Database: Sized {
    /// Its error.
    type Error: Debug;

    fn open(label: &str) -> Result<Self, Self::Error>;
    /// The columns and rows as text.
    fn execute(&self, statement: &str, parameters: &[String]) -> Result<Found, Self::Error>;
}

/// Columns and rows, each value as text.
pub type Found = (Vec<String>, Vec<Vec<String>>);

/// Answers with a line for each row of the last statement, its values with commas, after a
/// line with the columns; or 500 and the error. `connections` [1] are opened before.
pub fn serve<D: Database>(request: &IncomingRequest, out: ResponseOutparam) {
    let label = query(request, "database").unwrap_or_else(|| "default".to_owned());
    let connections = crate::number(request, "connections", 1);
    let (incoming, stream) = body(request);
    let mut bytes = Vec::new();
    while let Some(piece) = read(&stream) {
        bytes.extend(piece);
    }
    drop(stream);
    drop(incoming);
    let text = String::from_utf8(bytes).expect("text");
    let run = || -> Result<Found, D::Error> {
        let mut all = Vec::new();
        for _ in 0..connections {
            all.push(D::open(&label)?);
        }
        let mut found = Found::default();
        for line in text.lines() {
            let mut parts = line.split('|').map(str::to_owned);
            let statement = parts.next().unwrap_or_default();
            let parameters: Vec<String> = parts.collect();
            found = all[all.len() - 1].execute(&statement, &parameters)?;
        }
        Ok(found)
    };
    match run() {
        Ok(found) => answer(out, 200, lines(&found)),
        Err(error) => answer(out, 500, format!("{error:?}")),
    }
}

/// Columns and rows as lines.
pub fn lines((columns, rows): &Found) -> String {
    let lines = std::iter::once(columns).chain(rows);
    let lines: Vec<String> = lines.map(|values| values.join(",")).collect();
    lines.join("\n")
}
