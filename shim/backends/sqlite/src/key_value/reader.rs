//! What is read of a store.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Result, Row};
use skiff_host::{FoundPair, MOST_RESULT};

use crate::file::Link;

/// The largest value that is read on the spot.
const SMALL: i64 = 64 << 10;

/// What a key has.
pub(super) enum Found {
    Nothing,
    Value(Vec<u8>),
    /// A value that is not small.
    Large,
}

/// The bytes of a column, whatever its type is.
fn bytes(row: &Row<'_>, column: usize) -> Result<Vec<u8>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
        ValueRef::Null => Vec::new(),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Real(number) => number.to_string().into_bytes(),
    })
}

/// The value of a key, if it is small.
pub(super) fn small(connection: &Connection, store: &str, key: &str) -> Result<Found> {
    // SQLite knows the length of a value before it has read it.
    let mut statement = connection.prepare_cached(
        "SELECT length(value) <= ?3, CASE WHEN length(value) <= ?3 THEN value END
         FROM spin_key_value WHERE store = ?1 AND key = ?2",
    )?;
    let mut rows = statement.query((store, key, SMALL))?;
    Ok(match rows.next()? {
        None => Found::Nothing,
        Some(row) if row.get(0)? => Found::Value(bytes(row, 1)?),
        Some(_) => Found::Large,
    })
}

/// The value of a key.
pub(super) fn value(connection: &Connection, store: &str, key: &str) -> Result<Option<Vec<u8>>> {
    let mut statement = connection
        .prepare_cached("SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2")?;
    let row = |row: &Row<'_>| bytes(row, 0);
    statement.query_row((store, key), row).optional()
}

/// Whether a key is there.
pub(super) fn exists(connection: &Connection, store: &str, key: &str) -> Result<bool> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM spin_key_value WHERE store = ?1 AND key = ?2")?;
    statement.exists((store, key))
}

/// All keys; `None` if they are more than a result may have.
pub(super) fn keys(connection: &Connection, store: &str) -> Result<Option<Vec<String>>> {
    let mut statement =
        connection.prepare_cached("SELECT key FROM spin_key_value WHERE store = ?1")?;
    let mut rows = statement.query([store])?;
    let (mut keys, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        size += key.len() + size_of::<String>();
        if size > MOST_RESULT {
            return Ok(None);
        }
        keys.push(key);
    }
    Ok(Some(keys))
}

/// The values of those keys that are there, as they were at one moment; `None` if they are
/// more than a result may have.
pub(super) fn many(link: &Link, store: &str, keys: Vec<String>) -> Result<Option<Vec<FoundPair>>> {
    let transaction = link.connection.unchecked_transaction()?;
    let (mut pairs, mut size) = (Vec::new(), 0);
    for key in keys {
        if let Some(value) = value(&transaction, store, &key)? {
            size += key.len() + value.len();
            if size > MOST_RESULT {
                return Ok(None);
            }
            pairs.push((key, Some(value)));
        }
    }
    transaction.finish()?;
    Ok(Some(pairs))
}
