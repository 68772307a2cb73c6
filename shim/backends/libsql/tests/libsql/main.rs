//! Databases in a stand-in for a server of libSQL.

mod server;
mod statements;
mod wrong;

use std::sync::Arc;
use std::time::Duration;

use skiff_backend_http::Client;
use skiff_backend_libsql::LibsqlDatabase;
use skiff_host::{Database as _, DatabaseConnection, QueryResult, SqlValue, StoreError};
use skiff_manifest::runtime::{Secret, ServiceUrl};

use crate::server::TOKEN;

/// Longer than anything here takes, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// The database at a URL, as an application has it.
fn database(url: &str, token: &str, wait: Duration) -> LibsqlDatabase {
    let url = ServiceUrl::parse(url, &["http", "https"]).unwrap();
    let client = Arc::new(Client::new(skiff_backend_http::Settings::default()));
    LibsqlDatabase::new("orders", &url, &Secret::new(token), client, wait).unwrap()
}

/// A connection to a server that works.
fn connect(url: &str) -> Box<dyn DatabaseConnection> {
    database(url, TOKEN, PATIENCE).connect()
}

/// Runs a statement.
async fn run(
    connection: &dyn DatabaseConnection,
    statement: &str,
    parameters: &[SqlValue],
) -> Result<QueryResult, StoreError> {
    let running = connection.execute(statement.to_owned(), parameters.to_vec());
    running.await
}

/// The whole number that a query finds.
async fn number(connection: &dyn DatabaseConnection, query: &str) -> i64 {
    let found = run(connection, query, &[]).await.unwrap();
    match found.rows[0].values[0] {
        SqlValue::Integer(number) => number,
        ref other => panic!("{other:?} is no whole number"),
    }
}
