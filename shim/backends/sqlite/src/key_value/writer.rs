//! The writer of a store: one thread at a time, which takes all writes that wait into one
//! transaction, so that they share the way to the disk. It ends when nothing is left to do.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;
use rusqlite::{Connection, Result, Transaction, TransactionBehavior};
use skiff_host::{Pair, StoreError};

use super::Inner;
use super::reader::{self, Found};
use crate::file::{Link, is_usable};

/// The most writes of a transaction: each of them waits for the others.
const MOST_TOGETHER: usize = 256;

/// The most bytes of a transaction, if it has more than one write.
const MOST_BYTES: usize = 8 << 20;

/// A change that happens as a whole or not at all.
#[derive(Debug)]
pub(super) enum Write {
    Set(Vec<Pair>),
    Delete(Vec<String>),
    Increment {
        key: String,
        delta: i64,
    },
    Swap {
        key: String,
        before: Option<Vec<u8>>,
        value: Vec<u8>,
    },
}

impl Write {
    fn bytes(&self) -> usize {
        match self {
            Write::Set(pairs) => pairs
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum(),
            Write::Delete(keys) => keys.iter().map(String::len).sum(),
            Write::Increment { key, .. } => key.len(),
            Write::Swap { key, value, .. } => key.len() + value.len(),
        }
    }
}

/// What came of a write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Done {
    Changed,
    Sum(i64),
    Swapped(bool),
    /// It makes no sense, and nothing was changed.
    Refused(&'static str),
}

type Answer = std::result::Result<Done, StoreError>;

#[derive(Debug)]
struct Job {
    write: Write,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    queue: Mutex<Queue>,
    /// Only the thread that works has it.
    link: Mutex<Option<Link>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Whether a thread works, or will.
    works: bool,
}

impl Writer {
    /// Adds a write. If the second result is true, the caller has to let [`Writer::work`]
    /// run.
    pub(super) fn add(&self, write: Write) -> (oneshot::Receiver<Answer>, bool) {
        let (answer, waiting) = oneshot::channel();
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(Job { write, answer });
        (waiting, !std::mem::replace(&mut queue.works, true))
    }

    /// Writes until nothing is left. This may block.
    pub(super) fn work(&self, store: &Inner) {
        let working = Working(&self.queue);
        let mut link = lock(&self.link);
        loop {
            let jobs = working.next();
            if jobs.is_empty() {
                return;
            }
            write(store, &mut link, jobs);
        }
    }
}

/// The thread that works. If it panics, the next write starts another one.
struct Working<'a>(&'a Mutex<Queue>);

impl Working<'_> {
    /// Those that wait, up to a limit. If there are none, the work is over.
    fn next(&self) -> Vec<Job> {
        let mut queue = lock(self.0);
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while let Some(job) = queue.waiting.front()
            && jobs.len() < MOST_TOGETHER
        {
            bytes += job.write.bytes();
            if bytes > MOST_BYTES && !jobs.is_empty() {
                break;
            }
            // What nobody waits for any more is not begun.
            jobs.extend(
                queue
                    .waiting
                    .pop_front()
                    .filter(|job| !job.answer.is_canceled()),
            );
        }
        queue.works = !jobs.is_empty();
        jobs
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = lock(self.0);
            queue.works = false;
            queue.waiting.clear();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes all of them in one transaction, or each by itself if one of them fails.
fn write(store: &Inner, link: &mut Option<Link>, jobs: Vec<Job>) {
    let writes: Vec<&Write> = jobs.iter().map(|job| &job.write).collect();
    let answers: Vec<Answer> = match together(store, link, &writes) {
        Ok(all) => all.into_iter().map(Ok).collect(),
        Err(error) if writes.len() == 1 || crate::file::is_busy(&error) => {
            let failure = store.failure(&error);
            writes.iter().map(|_| Err(failure.clone())).collect()
        }
        Err(_) => {
            let alone = |write| {
                let done = together(store, link, &[write]);
                match done.as_deref() {
                    Ok(&[done]) => Ok(done),
                    Ok(_) => Err(store.ended()),
                    Err(error) => Err(store.failure(error)),
                }
            };
            writes.iter().copied().map(alone).collect()
        }
    };
    for (job, answer) in jobs.into_iter().zip(answers) {
        // Whoever is gone has not learnt that it was done.
        job.answer.send(answer).ok();
    }
}

/// Writes all of them or none.
fn together(store: &Inner, kept: &mut Option<Link>, writes: &[&Write]) -> Result<Vec<Done>> {
    let link = match kept.take() {
        Some(link) => link,
        None => store.open()?,
    };
    link.wait_for_locks();
    let result = transact(&link.connection, &store.label, writes);
    if result.as_ref().err().is_none_or(is_usable) {
        *kept = Some(link);
    }
    result
}

fn transact(connection: &Connection, store: &str, writes: &[&Write]) -> Result<Vec<Done>> {
    // A transaction that is dropped is undone.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let done = writes
        .iter()
        .map(|write| perform(connection, store, write))
        .collect::<Result<_>>()?;
    transaction.commit()?;
    Ok(done)
}

fn perform(connection: &Connection, store: &str, write: &Write) -> Result<Done> {
    match write {
        Write::Set(pairs) => {
            for (key, value) in pairs {
                set(connection, store, key, value)?;
            }
            Ok(Done::Changed)
        }
        Write::Delete(keys) => {
            let mut delete = connection
                .prepare_cached("DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2")?;
            for key in keys {
                delete.execute((store, key))?;
            }
            Ok(Done::Changed)
        }
        Write::Increment { key, delta } => increment(connection, store, key, *delta),
        Write::Swap { key, before, value } => {
            let most = before.as_ref().map_or(0, Vec::len);
            let fits = match reader::value(connection, store, key, most)? {
                Found::Nothing => before.is_none(),
                Found::Value(value) => Some(value) == *before,
                Found::Large => false,
            };
            if fits {
                set(connection, store, key, value)?;
            }
            Ok(Done::Swapped(fits))
        }
    }
}

fn set(connection: &Connection, store: &str, key: &str, value: &[u8]) -> Result<()> {
    let mut set = connection.prepare_cached(
        "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (store, key) DO UPDATE SET value = excluded.value",
    )?;
    set.execute((store, key, value))?;
    Ok(())
}

/// A number is kept as eight bytes, the lowest first, as Spin keeps it.
fn increment(connection: &Connection, store: &str, key: &str, delta: i64) -> Result<Done> {
    let number = match reader::value(connection, store, key, size_of::<i64>())? {
        Found::Nothing => Some(0),
        Found::Value(bytes) => bytes.try_into().ok().map(i64::from_le_bytes),
        Found::Large => None,
    };
    let Some(number) = number else {
        return Ok(Done::Refused("the value is not a number of 8 bytes"));
    };
    let Some(sum) = number.checked_add(delta) else {
        return Ok(Done::Refused(
            "the sum is too large for a number of 8 bytes",
        ));
    };
    set(connection, store, key, &sum.to_le_bytes())?;
    Ok(Done::Sum(sum))
}
