//! Files of SQLite: how they are opened, and how long they are waited for.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use skiff_host::{MOST_RESULT, StoreError};

use crate::Place;

/// The longest pause between two attempts to lock. Writers of other processes hold a lock
/// for about as long as a disk needs to write.
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// Room for a key beside the largest value.
const MOST_ROW: usize = MOST_RESULT + (1 << 20);

/// A table that a file has to have, and how it is made if it is missing.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) schema: &'static str,
}

/// A file of SQLite, opened as often as it is needed.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    place: Place,
    wait: Duration,
    /// What lives as long as the file is used.
    _held: Option<Arc<dyn Any + Send + Sync>>,
}

impl File {
    /// The file at a path whose folder exists and is at `place`. A lock that someone else
    /// holds is waited for no longer than `wait`.
    pub fn new(path: PathBuf, place: Place, wait: Duration) -> Self {
        File {
            path,
            place,
            wait,
            _held: None,
        }
    }

    /// The same file, which holds something until nobody uses it any more.
    #[must_use]
    pub fn holding(self, held: impl Any + Send + Sync) -> Self {
        let _held: Option<Arc<dyn Any + Send + Sync>> = Some(Arc::new(held));
        File { _held, ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Opens the file, and makes it and the table if they are missing. This may block.
    pub(crate) fn open(&self, table: Option<&Table>) -> rusqlite::Result<Link> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        let until = Arc::new(Mutex::new(Instant::now()));
        let mut link = Link {
            connection,
            wait: self.wait,
            until: Arc::clone(&until),
        };
        let most = i32::try_from(MOST_ROW).unwrap_or(i32::MAX);
        link.connection
            .set_limit(Limit::SQLITE_LIMIT_LENGTH, most)?;
        link.connection.busy_handler(Some(move |times: i32| {
            let until = *until.lock().unwrap_or_else(PoisonError::into_inner);
            let pause = Duration::from_micros(100).saturating_mul(times.unsigned_abs() + 1);
            let goes_on = Instant::now() < until;
            if goes_on {
                sleep(pause.min(LONGEST_PAUSE));
            }
            goes_on
        }))?;
        link.wait_for_locks();
        self.set_up(&link, table)?;
        Ok(link)
    }

    fn set_up(&self, link: &Link, table: Option<&Table>) -> rusqlite::Result<()> {
        let journal = match self.place {
            Place::Local => "wal",
            Place::Network => "delete",
        };
        // What is acknowledged is on the disk.
        link.connection.pragma_update(None, "synchronous", "full")?;
        // Another process may do the same at this moment, which SQLite does not wait for.
        let present: String =
            link.patiently(|c| c.pragma_query_value(None, "journal_mode", |row| row.get(0)))?;
        if present != journal {
            link.patiently(|c| {
                c.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(()))
            })?;
        }
        let Some(table) = table else { return Ok(()) };
        let count = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        let there: i64 = link.patiently(|c| c.query_row(count, [table.name], |row| row.get(0)))?;
        if there == 0 {
            link.patiently(|c| c.execute_batch(table.schema))?;
        }
        Ok(())
    }

    /// The error of a store in this file, for its guest.
    pub(crate) fn failure(&self, store: &str, error: &rusqlite::Error) -> StoreError {
        let named = format!("store `{store}` in `{}`", self.path.display());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Failed(format!(
                    "{named} is locked by another process, for more than {:?}",
                    self.wait
                ))
            }
            Some(ErrorCode::TooBig) => StoreError::Refused(format!(
                "{named}: the value is larger than {MOST_RESULT} bytes"
            )),
            _ => StoreError::Failed(format!("{named}: {error}")),
        }
    }
}

/// An open connection, and how long it waits.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    wait: Duration,
    until: Arc<Mutex<Instant>>,
}

impl Link {
    /// From now on, locks are waited for.
    pub(crate) fn wait_for_locks(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.wait;
    }

    /// Repeats what fails because of a lock for which SQLite does not wait itself.
    fn patiently<T>(
        &self,
        act: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match act(&self.connection) {
                Err(error) if is_busy(&error) && Instant::now() < until => sleep(LONGEST_PAUSE),
                result => return result,
            }
        }
    }
}

/// Whether someone else holds a lock.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Whether the connection may still be used after an error. Otherwise the file is opened
/// again: it may have been replaced.
pub(crate) fn is_usable(error: &rusqlite::Error) -> bool {
    is_busy(error)
        || matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::TooBig | ErrorCode::DiskFull)
        )
}
