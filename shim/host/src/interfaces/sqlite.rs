//! SQLite: what a database has to do, which databases a component may open, and the
//! interfaces that use them, in all versions.

mod spin_v1;
mod spin_v2;
mod spin_v3;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceTableError};

use super::key_value::StoreError;
use crate::state::State;

/// A database, shared by all instances of a worker.
pub trait Database: fmt::Debug + Send + Sync {
    /// A new connection, which is opened at its first use.
    fn connect(&self) -> Box<dyn DatabaseConnection>;
}

/// A connection to a database, of one instance. Dropping it closes it and ends what it does.
///
/// No call blocks its thread, and dropping a call's future ends the statement. A mistake in a
/// statement is [`StoreError::Refused`], with the words of SQLite alone.
pub trait DatabaseConnection: Send + Sync {
    /// Runs a statement to its end. Of several in a text, either the first runs and the rest
    /// is told in the log, or the call is refused. A result has at most
    /// [`MOST_RESULT`](crate::MOST_RESULT) bytes.
    fn execute(
        &self,
        statement: String,
        parameters: Vec<SqlValue>,
    ) -> BoxFuture<'_, Result<QueryResult, StoreError>>;

    /// The row id of the row that this connection has inserted last.
    fn last_insert_rowid(&self) -> BoxFuture<'_, Result<i64, StoreError>>;

    /// How many rows the last statement of this connection has changed.
    fn changes(&self) -> BoxFuture<'_, Result<u64, StoreError>>;
}

/// A value of SQLite, as parameter or in a result.
#[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum SqlValue {
    /// A whole number.
    #[component(name = "integer")]
    Integer(i64),
    /// A number with a fraction.
    #[component(name = "real")]
    Real(f64),
    /// Text.
    #[component(name = "text")]
    Text(String),
    /// Bytes.
    #[component(name = "blob")]
    Blob(Vec<u8>),
    /// Nothing.
    #[component(name = "null")]
    Null,
}

impl SqlValue {
    /// What the host holds for it, in bytes.
    pub fn size(&self) -> usize {
        let more = match self {
            SqlValue::Text(text) => text.len(),
            SqlValue::Blob(bytes) => bytes.len(),
            SqlValue::Integer(_) | SqlValue::Real(_) | SqlValue::Null => 0,
        };
        size_of::<SqlValue>() + more
    }
}

/// A row of a result.
#[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Row {
    /// A value for each column.
    #[component(name = "values")]
    pub values: Vec<SqlValue>,
}

/// What a statement has found.
#[derive(Debug, Clone, PartialEq, Default, ComponentType, Lower)]
#[component(record)]
pub struct QueryResult {
    /// The columns' names.
    #[component(name = "columns")]
    pub columns: Vec<String>,
    /// The rows.
    #[component(name = "rows")]
    pub rows: Vec<Row>,
}

impl QueryResult {
    /// What the host holds for it, in bytes.
    fn size(&self) -> usize {
        let values = self.rows.iter().flat_map(|row| &row.values);
        values.map(SqlValue::size).sum()
    }
}

/// The most connections that an instance may have, as in Spin.
const MOST_CONNECTIONS: usize = 256;

/// The databases that a component may open, by their labels.
#[derive(Debug, Clone, Default)]
pub struct Databases(Arc<BTreeMap<String, Arc<dyn Database>>>);

impl Databases {
    /// The databases of a component, each with its label.
    pub fn new(databases: impl IntoIterator<Item = (String, Arc<dyn Database>)>) -> Self {
        Databases(Arc::new(databases.into_iter().collect()))
    }
}

/// What a guest has a handle for.
type Handle = Arc<Connection>;

/// A connection with the names under which it is logged.
struct Connection {
    component: Arc<str>,
    label: String,
    connection: Box<dyn DatabaseConnection>,
}

/// Its `error` in all versions.
#[derive(Debug, ComponentType, Lift, Lower)]
#[component(variant)]
#[allow(
    dead_code,
    reason = "the interface has these cases; not all are used here"
)]
enum Fault {
    #[component(name = "no-such-database")]
    NoSuchDatabase,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "invalid-connection")]
    InvalidConnection,
    #[component(name = "database-full")]
    DatabaseFull,
    #[component(name = "io")]
    Io(String),
}

impl Connection {
    /// The database's answer; a database that does not work is logged.
    async fn of<T>(&self, answer: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, Fault> {
        answer.await.map_err(|error| {
            if let StoreError::Failed(reason) = &error {
                tracing::warn!(component_id = %self.component, database = self.label, reason, "A database does not work");
            }
            Fault::Io(error.to_string())
        })
    }
}

/// Opens a database for a guest.
fn open(state: &mut State, interface: &str, label: &str) -> Result<Resource<Handle>, Fault> {
    let component = Arc::clone(&state.grants().component);
    let Some(database) = state.grants().databases.0.get(label) else {
        tracing::warn!(component_id = %component, interface, function = "open", of = label, "Call denied: nothing grants it");
        return Err(Fault::AccessDenied);
    };
    let connection = Arc::new(Connection {
        component,
        label: label.to_owned(),
        connection: database.connect(),
    });
    let open = state.table.iter_mut().filter(|entry| entry.is::<Handle>());
    if open.count() >= MOST_CONNECTIONS {
        return Err(Fault::Io("too many connections opened".to_owned()));
    }
    let pushed = state.table.push(connection);
    pushed.map_err(|error| Fault::Io(error.to_string()))
}

/// The connection behind a guest's handle.
fn find(state: &State, handle: &Resource<Handle>) -> Result<Handle, ResourceTableError> {
    state.table.get(handle).cloned()
}

/// The fault of a call for which there is no memory.
fn too_much(error: skiff_engine::MemoryError) -> Fault {
    Fault::Io(error.to_string())
}

/// The bytes of a statement with its parameters.
fn size(statement: &str, parameters: &[SqlValue]) -> usize {
    let parameters: usize = parameters.iter().map(SqlValue::size).sum();
    statement.len() + parameters
}

async fn execute(
    state: &mut State,
    connection: &Connection,
    statement: String,
    parameters: Vec<SqlValue>,
) -> Result<QueryResult, Fault> {
    let _lent = state
        .lend(size(&statement, &parameters))
        .map_err(too_much)?;
    let answer = connection.connection.execute(statement, parameters);
    let result = connection.of(answer).await?;
    state.lend(result.size()).map_err(too_much)?;
    Ok(result)
}

/// Adds all versions; asynchronous functions only if the engine supports concurrent calls.
pub(super) fn add_to_linker(linker: &mut Linker<State>, concurrency: bool) -> wasmtime::Result<()> {
    spin_v1::add_to_linker(linker)?;
    spin_v2::add_to_linker(linker)?;
    spin_v3::add_to_linker(linker, concurrency)
}
