//! A database of `spin:sqlite/sqlite@3.1.0` by HTTP, with its asynchronous functions: the
//! statement `sql` of the query, in which `+` stands for a space, and its rows as lines.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};

wit_bindgen::generate!({
    inline: "
        package skiff:guests;

        world imports {
            import spin:sqlite/sqlite@3.1.0;
        }

        package spin:sqlite@3.1.0 {
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
                    open-async: static async func(database: string)
                        -> result<connection, error>;
                    execute-async: async func(statement: string, parameters: list<value>)
                        -> result<tuple<list<string>, stream<row-result>,
                            future<result<_, error>>>, error>;
                    last-insert-rowid-async: async func() -> s64;
                    changes-async: async func() -> u64;
                }
            }
        }
    ",
    generate_all,
});

use spin::sqlite::sqlite::{Connection, Error, Value};

struct Sqlite;
wasip3::http::service::export!(Sqlite);

impl Guest for Sqlite {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        Ok(match run(&path).await {
            Ok(text) => p3::respond(200, text),
            Err(error) => p3::respond(500, format!("{error:?}")),
        })
    }
}

async fn run(path: &str) -> Result<String, Error> {
    let database = guests::query_of(path, "database").unwrap_or_else(|| "default".to_owned());
    let statement = guests::query_of(path, "sql")
        .unwrap_or_default()
        .replace('+', " ");
    let connection = Connection::open_async(database).await?;
    let (columns, stream, done) = connection.execute_async(statement, Vec::new()).await?;
    let rows = stream.collect().await;
    done.await?;
    if columns.is_empty() {
        let changes = connection.changes_async().await;
        let id = connection.last_insert_rowid_async().await;
        return Ok(format!("{changes} changed, row {id}"));
    }
    let rows = rows.into_iter();
    let rows = rows.map(|row| row.values.into_iter().map(text).collect());
    Ok(guests::database::lines(&(columns, rows.collect())))
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
