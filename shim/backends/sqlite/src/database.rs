//! A database for the SQL of guests: each of a guest's connections is one of SQLite.
//!
//! A statement runs on another thread, as it may take as long as it wants; it is interrupted
//! when nobody waits for it any more. So that the queries of one guest do not take the
//! threads that others need, only so many run at once.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, Connection, ErrorCode, Statement, ToSql};
use skiff_host::{
    Database, DatabaseConnection, MOST_RESULT, QueryResult, Row, SqlValue, StoreError,
};
use tokio::sync::Semaphore;

use crate::file::{File, Link};
use crate::rules;

/// Statements that run at once in a worker. Half of its threads for what may block are left
/// to others.
static RUNNING: Semaphore = Semaphore::const_new(32);

/// Connections that are open in a worker: each takes two or three descriptors.
const MOST_OPEN: usize = 512;

/// After how many steps of its machine SQLite looks whether to go on: some microseconds.
const STEPS: i32 = 1000;

/// How many connections are open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A database in a file of SQLite.
#[derive(Debug, Clone)]
pub struct SqliteDatabase(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    label: String,
    file: File,
    /// Whether statements may attach other files.
    attaches: bool,
    /// Kept open, so that the last guest's end does not close the file: that would write
    /// the whole log back.
    kept: Mutex<Option<Link>>,
}

impl SqliteDatabase {
    /// The database of this label in a file; nothing is opened yet. With `attaches`,
    /// statements may attach any file that the process may open.
    pub fn new(label: &str, file: File, attaches: bool) -> Self {
        SqliteDatabase(Arc::new(Inner {
            label: label.to_owned(),
            file,
            attaches,
            kept: Mutex::default(),
        }))
    }
}

impl Database for SqliteDatabase {
    fn connect(&self) -> Box<dyn DatabaseConnection> {
        Box::new(Own(Arc::new(Shared {
            database: Arc::clone(&self.0),
            open: Mutex::default(),
        })))
    }
}

/// A guest's connection.
struct Own(Arc<Shared>);

/// What the guest and the thread that runs its statement share.
struct Shared {
    database: Arc<Inner>,
    open: Mutex<Option<Opened>>,
}

/// An open connection, which is counted.
struct Opened(Link);

impl Drop for Opened {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, AcqRel);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.0);
        // Closing may write to the disk. Without a runtime the process is shutting down.
        let opened = lock_now(&shared.open).is_none_or(|open| open.is_some());
        if opened && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(shared));
        }
    }
}

/// Tells a statement when nobody waits for it any more.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Release);
    }
}

impl Own {
    /// Does something with the connection on another thread.
    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let ended = || {
            let named = self.0.database.named();
            StoreError::Failed(format!("{named} has been closed"))
        };
        let _turn = RUNNING.acquire().await.map_err(|_| ended())?;
        let shared = Arc::clone(&self.0);
        let waits = Waits(Arc::default());
        let is_over = Arc::clone(&waits.0);
        let done = tokio::task::spawn_blocking(move || shared.act(is_over, act)).await;
        drop(waits);
        done.unwrap_or_else(|_| Err(ended()))
    }
}

/// Why a statement did not run to its end.
enum Fault {
    Sql(rusqlite::Error),
    /// The guest cannot have the result.
    Result(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error)
    }
}

impl Shared {
    /// `is_over` becomes true when nobody waits for the result any more.
    fn act<T>(
        &self,
        is_over: Arc<AtomicBool>,
        act: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mut open = lock(&self.open);
        let Opened(link) = match &mut *open {
            Some(opened) => opened,
            none => none.insert(self.connect()?),
        };
        link.wait_for_locks();
        let interrupts = move || is_over.load(Acquire);
        let set = link.connection.progress_handler(STEPS, Some(interrupts));
        set.map_err(|error| self.database.failure(&error))?;
        act(&link.connection).map_err(|fault| match fault {
            Fault::Sql(error) => self.database.failure(&error),
            Fault::Result(text) => StoreError::Refused(text),
        })
    }

    fn connect(&self) -> Result<Opened, StoreError> {
        if OPEN.fetch_add(1, AcqRel) >= MOST_OPEN {
            OPEN.fetch_sub(1, AcqRel);
            let text = "too many connections opened";
            return Err(StoreError::Refused(text.to_owned()));
        }
        self.database.connect().map(Opened).inspect_err(|_| {
            OPEN.fetch_sub(1, AcqRel);
        })
    }
}

impl Inner {
    fn named(&self) -> String {
        let path = self.file.path().display();
        format!("database `{}` in `{path}`", self.label)
    }

    fn connect(&self) -> Result<Link, StoreError> {
        let open = || -> rusqlite::Result<Link> {
            let mut kept = lock(&self.kept);
            if kept.is_none() {
                *kept = Some(self.file.open(None)?);
            }
            let mut link = self.file.open(None)?;
            rules::set(&mut link.connection, self.attaches)?;
            Ok(link)
        };
        open().map_err(|error| self.failure(&error))
    }

    /// A mistake in a statement is told in SQLite's words alone, which applications may
    /// know. What the operator has to know names the file.
    fn failure(&self, error: &rusqlite::Error) -> StoreError {
        use ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull,
            FileLockingProtocolFailed, NoLargeFileSupport, NotADatabase, OutOfMemory,
            PermissionDenied, ReadOnly, SystemIoFailure,
        };
        let named = self.named();
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => StoreError::Failed(format!(
                "{named} is locked by another connection, for more than {:?}",
                self.file.wait()
            )),
            Some(
                CannotOpen
                | DatabaseCorrupt
                | DiskFull
                | FileLockingProtocolFailed
                | NoLargeFileSupport
                | NotADatabase
                | OutOfMemory
                | PermissionDenied
                | ReadOnly
                | SystemIoFailure,
            ) => StoreError::Failed(format!("{named}: {error}")),
            _ => StoreError::Refused(error.to_string()),
        }
    }
}

impl DatabaseConnection for Own {
    fn execute(
        &self,
        statement: String,
        parameters: Vec<SqlValue>,
    ) -> BoxFuture<'_, Result<QueryResult, StoreError>> {
        let label = self.0.database.label.clone();
        self.with(move |connection| {
            let mut all = Batch::new(connection, &statement);
            let Some(first) = all.next()? else {
                return Ok(QueryResult::default());
            };
            let result = query(first, &parameters)?;
            if !matches!(all.next(), Ok(None)) {
                tracing::warn!(
                    database = label,
                    "Only the first statement of a text has run: `execute` is for one statement"
                );
            }
            Ok(result)
        })
        .boxed()
    }

    fn last_insert_rowid(&self) -> BoxFuture<'_, Result<i64, StoreError>> {
        self.with(|connection| Ok(connection.last_insert_rowid()))
            .boxed()
    }

    fn changes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.with(|connection| Ok(connection.changes())).boxed()
    }
}

/// A parameter as SQLite takes it, without a copy.
struct Parameter<'a>(&'a SqlValue);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            SqlValue::Integer(number) => ValueRef::Integer(*number),
            SqlValue::Real(number) => ValueRef::Real(*number),
            SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
            SqlValue::Blob(bytes) => ValueRef::Blob(bytes),
            SqlValue::Null => ValueRef::Null,
        }))
    }
}

fn query(mut statement: Statement<'_>, parameters: &[SqlValue]) -> Result<QueryResult, Fault> {
    let names = statement.column_names();
    let columns: Vec<String> = names.map(str::to_owned).collect();
    let parameters = parameters.iter().map(Parameter);
    let mut found = statement.query(rusqlite::params_from_iter(parameters))?;
    let (mut rows, mut size) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let mut values = Vec::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            let value = value(row.get_ref(index)?, column)?;
            size += value.size();
            if size > MOST_RESULT {
                let text = format!("the result has more than {MOST_RESULT} bytes");
                return Err(Fault::Result(text));
            }
            values.push(value);
        }
        rows.push(Row { values });
    }
    Ok(QueryResult { columns, rows })
}

fn value(value: ValueRef<'_>, column: &str) -> Result<SqlValue, Fault> {
    Ok(match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(number) => SqlValue::Integer(number),
        ValueRef::Real(number) => SqlValue::Real(number),
        ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => SqlValue::Text(text.to_owned()),
            Err(error) => {
                let text = format!("column `{column}` is text that is not UTF-8: {error}");
                return Err(Fault::Result(text));
            }
        },
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock, if nobody has it.
fn lock_now<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(std::sync::TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => None,
    }
}
