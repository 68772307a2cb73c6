//! A key-value store in a table, as Spin has it, so that its files can be taken over: a row
//! for each key, with the store's label, so that several stores may share a file.
//!
//! A read of a small value goes on the spot: with a write-ahead log nobody makes it wait,
//! and a hop to another thread would take longer than the read. As soon as one has taken
//! long, because the disk was asked, reads go on other threads for a while. So does
//! everything that may take long by itself, and everything on a file system of the network.
//!
//! Writes are done by one thread at a time, which takes all that wait into one transaction
//! (`writer.rs`).

mod reader;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use skiff_host::{FoundPair, KeyValueStore, Pair, Reply, StoreError, too_large};

use self::reader::Found;
use self::writer::{Done, Write, Writer};
use crate::Place;
use crate::file::{File, Link, Table, is_busy, is_usable};

const TABLE: Table = Table {
    name: "spin_key_value",
    schema: "CREATE TABLE IF NOT EXISTS spin_key_value (
        store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key))",
};

/// A read that takes longer has asked the disk.
const SLOW: Duration = Duration::from_millis(1);

/// The largest value that is read on the spot.
const SMALL: usize = 64 << 10;

/// How long reads go on other threads after a slow one.
const AFTER_A_SLOW_ONE: Duration = Duration::from_millis(100);

/// How many connections for reads on other threads are kept.
const MOST_IDLE: usize = 4;

/// A key-value store in a file of SQLite.
#[derive(Debug, Clone)]
pub struct SqliteKeyValue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    label: String,
    file: File,
    /// For reads on the spot.
    quick: Mutex<Quick>,
    /// For reads on other threads.
    idle: Mutex<Vec<Link>>,
    writer: Writer,
}

#[derive(Debug, Default)]
struct Quick {
    link: Option<Link>,
    /// Until when reads go on other threads.
    not_before: Option<Instant>,
}

impl SqliteKeyValue {
    /// The store of this label in a file; nothing is opened yet.
    pub fn new(label: &str, file: File) -> Self {
        SqliteKeyValue(Arc::new(Inner {
            label: label.to_owned(),
            file,
            quick: Mutex::default(),
            idle: Mutex::default(),
            writer: Writer::default(),
        }))
    }

    /// Does something on another thread.
    async fn apart<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || act(&inner)).await;
        done.unwrap_or_else(|_| Err(self.0.ended()))
    }

    async fn write(&self, write: Write) -> Result<Done, StoreError> {
        let (waiting, must_start) = self.0.writer.add(write);
        if must_start {
            let inner = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || inner.writer.work(&inner));
        }
        waiting.await.unwrap_or_else(|_| Err(self.0.ended()))
    }
}

impl Inner {
    fn open(&self) -> rusqlite::Result<Link> {
        self.file.open(Some(&TABLE))
    }

    fn failure(&self, error: &rusqlite::Error) -> StoreError {
        self.file.failure(&self.label, error)
    }

    fn refused(&self, why: &str) -> StoreError {
        let path = self.file.path().display();
        StoreError::Refused(format!("store `{}` in `{path}`: {why}", self.label))
    }

    /// The error of a call whose thread is gone.
    fn ended(&self) -> StoreError {
        let path = self.file.path().display();
        StoreError::Failed(format!(
            "store `{}` in `{path}` has been closed",
            self.label
        ))
    }

    /// Reads on the spot; `None` if that has to be done on another thread.
    fn on_the_spot<T>(
        &self,
        read: impl FnOnce(&Link) -> rusqlite::Result<Option<T>>,
    ) -> Option<Result<T, StoreError>> {
        if self.file.place() == Place::Network {
            return None;
        }
        // The guests of a worker share a thread, so nobody else has it.
        let mut quick = self.quick.try_lock().ok()?;
        let began = Instant::now();
        if quick.not_before.is_some_and(|then| began < then) {
            return None;
        }
        let Some(link) = &quick.link else {
            // Opening takes a while, and may have to wait.
            quick.not_before = Some(began + AFTER_A_SLOW_ONE);
            return None;
        };
        let result = read(link);
        quick.not_before = (began.elapsed() > SLOW).then(|| Instant::now() + AFTER_A_SLOW_ONE);
        match result {
            Ok(found) => found.map(Ok),
            Err(error) if is_busy(&error) => None,
            Err(error) => {
                if !is_usable(&error) {
                    quick.link = None;
                }
                Some(Err(self.failure(&error)))
            }
        }
    }

    /// Reads, with all the time that it takes.
    fn read<T>(&self, read: impl FnOnce(&Link) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = self.lock_idle().pop();
        let link = match idle {
            Some(link) => link,
            None => self.open().map_err(|error| self.failure(&error))?,
        };
        link.wait_for_locks();
        match read(&link) {
            Ok(found) => {
                self.keep(link);
                Ok(found)
            }
            Err(error) => {
                if is_usable(&error) {
                    self.keep(link);
                }
                Err(self.failure(&error))
            }
        }
    }

    /// Keeps a connection for the next read: on the spot if there is none for that yet.
    fn keep(&self, link: Link) {
        if self.file.place() == Place::Local
            && let Ok(mut quick) = self.quick.try_lock()
            && quick.link.is_none()
        {
            *quick = Quick {
                link: Some(link),
                not_before: None,
            };
            return;
        }
        let mut idle = self.lock_idle();
        if idle.len() < MOST_IDLE {
            idle.push(link);
        }
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyValueStore for SqliteKeyValue {
    fn get<'a>(&'a self, key: &'a str, most: usize) -> Reply<'a, Option<Vec<u8>>> {
        let small = |link: &Link| {
            let found = reader::value(&link.connection, &self.0.label, key, most.min(SMALL))?;
            Ok(match found {
                Found::Large => None,
                Found::Nothing => Some(None),
                Found::Value(value) => Some(Some(value)),
            })
        };
        if let Some(found) = self.0.on_the_spot(small) {
            return std::future::ready(found).boxed();
        }
        let key = key.to_owned();
        self.apart(move |store| {
            let found =
                store.read(|link| reader::value(&link.connection, &store.label, &key, most))?;
            match found {
                Found::Nothing => Ok(None),
                Found::Value(value) => Ok(Some(value)),
                Found::Large => Err(store.refused(&too_large("the value has", most))),
            }
        })
        .boxed()
    }

    fn set(&self, key: String, value: Vec<u8>) -> Reply<'_, ()> {
        self.write(Write::Set(vec![(key, value)]))
            .map(|done| done.map(drop))
            .boxed()
    }

    fn delete(&self, key: String) -> Reply<'_, ()> {
        self.write(Write::Delete(vec![key]))
            .map(|done| done.map(drop))
            .boxed()
    }

    fn exists<'a>(&'a self, key: &'a str) -> Reply<'a, bool> {
        let exists = |link: &Link| reader::exists(&link.connection, &self.0.label, key).map(Some);
        if let Some(exists) = self.0.on_the_spot(exists) {
            return std::future::ready(exists).boxed();
        }
        let key = key.to_owned();
        self.apart(move |store| {
            store.read(|link| reader::exists(&link.connection, &store.label, &key))
        })
        .boxed()
    }

    fn keys(&self, most: usize) -> Reply<'_, Vec<String>> {
        self.apart(move |store| {
            let keys = store.read(|link| reader::keys(&link.connection, &store.label, most))?;
            keys.ok_or_else(|| store.refused(&too_large("its keys have", most)))
        })
        .boxed()
    }

    fn get_many(&self, keys: Vec<String>, most: usize) -> Reply<'_, Vec<FoundPair>> {
        self.apart(move |store| {
            let pairs = store.read(|link| reader::many(link, &store.label, keys, most))?;
            pairs.ok_or_else(|| store.refused(&too_large("the values have", most)))
        })
        .boxed()
    }

    fn set_many(&self, pairs: Vec<Pair>) -> Reply<'_, ()> {
        self.write(Write::Set(pairs))
            .map(|done| done.map(drop))
            .boxed()
    }

    fn delete_many(&self, keys: Vec<String>) -> Reply<'_, ()> {
        self.write(Write::Delete(keys))
            .map(|done| done.map(drop))
            .boxed()
    }

    fn increment(&self, key: String, delta: i64) -> Reply<'_, i64> {
        async move {
            match self.write(Write::Increment { key, delta }).await? {
                Done::Sum(sum) => Ok(sum),
                Done::Refused(why) => Err(self.0.refused(why)),
                Done::Changed | Done::Swapped(_) => Err(self.0.ended()),
            }
        }
        .boxed()
    }

    fn swap(&self, key: String, before: Option<Vec<u8>>, value: Vec<u8>) -> Reply<'_, bool> {
        async move {
            let swap = Write::Swap { key, before, value };
            let done = self.write(swap).await?;
            Ok(matches!(done, Done::Swapped(true)))
        }
        .boxed()
    }
}
