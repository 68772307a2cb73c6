//! Databases in servers of libSQL, by its protocol Hrana of version 3 over HTTP: a request
//! has a statement in JSON, and a response its result.
//! <https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md>
//!
//! Each of a guest's connections is a stream of the server, which begins with its first
//! statement and is closed with the guest. Between two requests nothing ties a stream to a
//! connection of the network: the server returns a baton that the next request has to bring.
//! A server closes streams that it has not heard of for a while; outside of a transaction
//! another takes its place, and nobody notices.

mod protocol;
mod server;

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use skiff_host::{
    Database, DatabaseConnection, HttpClient, MOST_RESULT, QueryResult, Row, SqlValue, StoreError,
};
use skiff_manifest::runtime::{Secret, ServiceUrl};
use tokio::sync::{Mutex, Semaphore};

use self::protocol::{Answer, Problem, Request, StatementResult};
use self::server::{Failure, Server, Target};

/// Statements that a worker has under way at a server: each may hold a result of the largest
/// size.
const MOST_AT_ONCE: usize = 32;

/// A database in a server of libSQL.
#[derive(Clone)]
pub struct LibsqlDatabase(Arc<Inner>);

struct Inner {
    label: String,
    /// The server's URL as it may be shown.
    shown: String,
    server: Server,
    turns: Semaphore,
    /// The longest time of a call.
    wait: Duration,
}

impl fmt::Debug for LibsqlDatabase {
    /// Without the token that the server is asked with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LibsqlDatabase({}, {})", self.0.label, self.0.shown)
    }
}

impl LibsqlDatabase {
    /// The database of this label at `url`, which is asked through `client`; nothing is
    /// connected yet. A call may take as long as `wait`.
    ///
    /// # Errors
    /// A token that no header can have.
    pub fn new(
        label: &str,
        url: &ServiceUrl,
        token: &Secret,
        client: Arc<dyn HttpClient>,
        wait: Duration,
    ) -> Result<Self, String> {
        Ok(LibsqlDatabase(Arc::new(Inner {
            label: label.to_owned(),
            shown: url.to_string(),
            server: Server::new(label, url, token, client)?,
            turns: Semaphore::new(MOST_AT_ONCE),
            wait,
        })))
    }
}

impl Database for LibsqlDatabase {
    fn connect(&self) -> Box<dyn DatabaseConnection> {
        Box::new(Own {
            database: Arc::clone(&self.0),
            session: Mutex::default(),
        })
    }
}

/// A guest's connection.
struct Own {
    database: Arc<Inner>,
    /// One statement at a time has it.
    session: Mutex<Session>,
}

#[derive(Default)]
struct Session {
    stream: Stream,
    last_insert_rowid: i64,
    changes: u64,
}

/// The server's side of a connection.
#[derive(Default)]
enum Stream {
    /// The next statement begins one.
    #[default]
    None,
    Open {
        baton: String,
        /// Where the server wants to be asked.
        at: Option<Target>,
        in_transaction: bool,
    },
    /// It is gone with a transaction, and nobody was told.
    Lost,
}

impl Stream {
    fn in_transaction(&self) -> bool {
        match self {
            Stream::None => false,
            Stream::Open { in_transaction, .. } => *in_transaction,
            Stream::Lost => true,
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let stream = mem::take(&mut self.session.get_mut().stream);
        let Stream::Open { baton, at, .. } = stream else {
            return;
        };
        // Without a runtime the process is shutting down, and the server closes it later.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let database = Arc::clone(&self.database);
            runtime.spawn(async move {
                let close = [Request::Close];
                let closed = database.ask(Some(&baton), at.as_ref(), &close).await;
                if let Err(failure) = closed {
                    tracing::debug!(database = database.label, reason = %failure, "A stream was not closed");
                }
            });
        }
    }
}

impl Inner {
    fn named(&self) -> String {
        format!("database `{}` at `{}`", self.label, self.shown)
    }

    fn failed(&self, why: impl fmt::Display) -> StoreError {
        StoreError::Failed(format!("{}: {why}", self.named()))
    }

    /// Sends requests for a stream, or for a new one, within the time of a call.
    async fn ask(
        &self,
        baton: Option<&str>,
        at: Option<&Target>,
        requests: &[Request<'_>],
    ) -> Result<Answer, Failure> {
        let body = protocol::pipeline(baton, requests);
        let asked = async {
            // It is never closed.
            let _turn = self.turns.acquire().await;
            self.server.ask(at, body).await
        };
        let late = |_| Failure::Other(format!("it has not answered in {:?}", self.wait));
        tokio::time::timeout(self.wait, asked).await.map_err(late)?
    }

    /// What a statement's problem is for the guest. A mistake in it is told in the server's
    /// words alone.
    fn problem(&self, problem: &Problem) -> StoreError {
        match problem.is_of_server() {
            true => self.failed(problem),
            false => StoreError::Refused(problem.to_string()),
        }
    }
}

impl Own {
    async fn run(
        &self,
        statement: &str,
        parameters: &[SqlValue],
    ) -> Result<QueryResult, StoreError> {
        let database = &self.database;
        let requests = [
            Request::execute(statement, parameters).map_err(StoreError::Refused)?,
            Request::GetAutocommit,
        ];
        let mut session = self.session.lock().await;
        let stream = mem::take(&mut session.stream);
        let was_in_transaction = stream.in_transaction();
        let (baton, at) = match &stream {
            Stream::Lost => {
                let why = "the connection was lost, and its transaction is undone";
                return Err(database.failed(why));
            }
            Stream::None => (None, None),
            Stream::Open { baton, at, .. } => (Some(baton.as_str()), at.as_ref()),
        };
        // What counts if this call is given up.
        if was_in_transaction {
            session.stream = Stream::Lost;
        }
        let answer = match database.ask(baton, at, &requests).await {
            // The server has closed it meanwhile, and has not run the statement.
            Err(Failure::NoStream(_)) if baton.is_some() && !was_in_transaction => {
                database.ask(None, None, &requests).await
            }
            answer => answer,
        };
        session.stream = Stream::None;
        let undone = if was_in_transaction {
            "; its transaction is undone"
        } else {
            ""
        };
        let failed = |why: &dyn fmt::Display| database.failed(format!("{why}{undone}"));
        let answer = answer.map_err(|failure| failed(&failure))?;
        let parts = answer.of_statement().map_err(|failure| failed(&failure))?;
        let elsewhere = parts
            .base_url
            .map(|url| database.server.elsewhere(&url))
            .transpose();
        let moved = elsewhere.map_err(|failure| failed(&failure))?;
        session.stream = match parts.baton {
            Some(baton) => Stream::Open {
                baton,
                at: moved.or(match stream {
                    Stream::Open { at, .. } => at,
                    Stream::None | Stream::Lost => None,
                }),
                in_transaction: !parts.is_autocommit,
            },
            None if parts.is_autocommit => Stream::None,
            None => Stream::Lost,
        };
        let result = parts.result.map_err(|problem| database.problem(&problem))?;
        session.last_insert_rowid = result.last_insert_rowid.unwrap_or_default();
        session.changes = result.affected_row_count;
        found(result)
    }
}

fn found(result: StatementResult) -> Result<QueryResult, StoreError> {
    let too_large = || StoreError::Refused(format!("the result has more than {MOST_RESULT} bytes"));
    let columns = result.cols.whole().ok_or_else(too_large)?;
    let rows = result.rows.whole().ok_or_else(too_large)?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let values = row.whole().ok_or_else(too_large)?;
        all.push(Row {
            values: values.into_iter().map(|value| value.0).collect(),
        });
    }
    let name = |column: protocol::Column| column.name.unwrap_or_default();
    Ok(QueryResult {
        columns: columns.into_iter().map(name).collect(),
        rows: all,
    })
}

impl DatabaseConnection for Own {
    fn execute(
        &self,
        statement: String,
        parameters: Vec<SqlValue>,
    ) -> BoxFuture<'_, Result<QueryResult, StoreError>> {
        async move { self.run(&statement, &parameters).await }.boxed()
    }

    fn last_insert_rowid(&self) -> BoxFuture<'_, Result<i64, StoreError>> {
        async { Ok(self.session.lock().await.last_insert_rowid) }.boxed()
    }

    fn changes(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        async { Ok(self.session.lock().await.changes) }.boxed()
    }
}
