//! A database of `spin:sqlite/sqlite@3.0.0` by HTTP. The statement `changes` answers with the
//! number of changed rows and the last row id.

use guests::database::{self, Found};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import spin:sqlite/sqlite@3.0.0;
        }

        package spin:sqlite@3.0.0 {
            interface sqlite {
                variant error {
                    no-such-database,
                    access-denied,
                    invalid-connection,
                    database-full,
                    io(string),
                }
                variant value {
                    integer(s64),
                    real(f64),
                    text(string),
                    blob(list<u8>),
                    null,
                }
                record row-result { values: list<value> }
                record query-result { columns: list<string>, rows: list<row-result> }
                resource connection {
                    open: static func(database: string) -> result<connection, error>;
                    execute: func(statement: string, parameters: list<value>)
                        -> result<query-result, error>;
                    last-insert-rowid: func() -> s64;
                    changes: func() -> u64;
                }
            }
        }
    ",
    generate_all,
});

use spin::sqlite::sqlite::{Connection, Error, QueryResult, Value};

impl database::Database for Connection {
    type Error = Error;

    fn open(label: &str) -> Result<Self, Error> {
        Connection::open(label)
    }

    fn execute(&self, statement: &str, parameters: &[String]) -> Result<Found, Error> {
        if statement == "changes" {
            let values = vec![
                self.changes().to_string(),
                self.last_insert_rowid().to_string(),
            ];
            return Ok((Vec::new(), vec![values]));
        }
        let parameters: Vec<Value> = parameters.iter().cloned().map(Value::Text).collect();
        Connection::execute(self, statement, &parameters).map(found)
    }
}

fn found(result: QueryResult) -> Found {
    let rows = result.rows.into_iter();
    let rows = rows.map(|row| row.values.into_iter().map(text).collect());
    (result.columns, rows.collect())
}

fn text(value: Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Blob(bytes) => format!("{bytes:?}"),
        Value::Null => "null".to_owned(),
    }
}

struct Sqlite;
wasip2::http::proxy::export!(Sqlite with_types_in wasip2);

impl Guest for Sqlite {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        database::serve::<Connection>(&request, out);
    }
}
