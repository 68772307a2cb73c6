//! Key-value stores and databases in files of SQLite.
//!
//! A file may be used by several threads, processes and pods at once. On a file system of
//! this machine it has a write-ahead log, so that readers never wait; on one of the network,
//! where the memory that such a log needs is not shared, it has a rollback journal.
//!
//! Nothing is opened before the first use, so a store may be made before workers are forked.

mod database;
mod file;
mod key_value;
mod place;
mod rules;

pub use database::SqliteDatabase;
pub use file::File;
pub use key_value::SqliteKeyValue;
pub use place::{Place, PlaceError};
