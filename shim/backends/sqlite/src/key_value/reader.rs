//! What is read of a store.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result, Row};
use skiff_host::FoundPair;

use crate::file::Link;

/// What a key has.
pub(super) enum Found {
    Nothing,
    Value(Vec<u8>),
    /// A value of more bytes than were asked for.
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

/// The value of a key, if it has at most `most` bytes.
pub(super) fn value(connection: &Connection, store: &str, key: &str, most: usize) -> Result<Found> {
    // SQLite knows the length of a value before it has read it.
    let mut statement = connection.prepare_cached(
        "SELECT ifnull(octet_length(value), 0) <= ?3,
         CASE WHEN octet_length(value) <= ?3 THEN value END
         FROM spin_key_value WHERE store = ?1 AND key = ?2",
    )?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut rows = statement.query((store, key, most))?;
    Ok(match rows.next()? {
        None => Found::Nothing,
        Some(row) if row.get(0)? => Found::Value(bytes(row, 1)?),
        Some(_) => Found::Large,
    })
}

/// Whether a key is there.
pub(super) fn exists(connection: &Connection, store: &str, key: &str) -> Result<bool> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM spin_key_value WHERE store = ?1 AND key = ?2")?;
    statement.exists((store, key))
}

/// All keys; `None` if they have more than `most` bytes.
pub(super) fn keys(
    connection: &Connection,
    store: &str,
    most: usize,
) -> Result<Option<Vec<String>>> {
    let mut statement =
        connection.prepare_cached("SELECT key FROM spin_key_value WHERE store = ?1")?;
    let mut rows = statement.query([store])?;
    let (mut keys, mut size) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        size += key.len() + size_of::<String>();
        if size > most {
            return Ok(None);
        }
        keys.push(key);
    }
    Ok(Some(keys))
}

/// The values of those keys that are there, as they were at one moment; `None` if they have
/// more than `most` bytes.
pub(super) fn many(
    link: &Link,
    store: &str,
    keys: Vec<String>,
    most: usize,
) -> Result<Option<Vec<FoundPair>>> {
    let transaction = link.connection.unchecked_transaction()?;
    let (mut pairs, mut left) = (Vec::new(), most);
    for key in keys {
        match value(&transaction, store, &key, left)? {
            Found::Nothing => {}
            Found::Large => return Ok(None),
            Found::Value(value) => {
                left -= value.len();
                pairs.push((key, Some(value)));
            }
        }
    }
    transaction.finish()?;
    Ok(Some(pairs))
}
