//! A database of `fermyon:spin/sqlite` by HTTP.

use guests::database::{self, Found};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import fermyon:spin/sqlite;
        }

        package fermyon:spin {
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
                type connection = u32;
                open: func(name: string) -> result<connection, error>;
                execute: func(conn: connection, statement: string, parameters: list<value>)
                    -> result<query-result, error>;
                close: func(conn: connection);
            }
        }
    ",
    generate_all,
});

use fermyon::spin::sqlite::{self, Error, QueryResult, Value};

struct Connection(u32);

impl Drop for Connection {
    fn drop(&mut self) {
        sqlite::close(self.0);
    }
}

impl database::Database for Connection {
    type Error = Error;

    fn open(label: &str) -> Result<Self, Error> {
        sqlite::open(label).map(Connection)
    }

    fn execute(&self, statement: &str, parameters: &[String]) -> Result<Found, Error> {
        let parameters: Vec<Value> = parameters.iter().cloned().map(Value::Text).collect();
        sqlite::execute(self.0, statement, &parameters).map(found)
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
