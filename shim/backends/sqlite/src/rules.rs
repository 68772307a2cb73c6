//! What the SQL of guests may not do: reach other files, change how the host uses the file,
//! and take more memory than there is for it.

use std::sync::Once;

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, ffi};

/// What SQLite may take in a worker, all connections together. A value of the largest size
/// has to be there twice.
const MOST_MEMORY: i64 = 384 << 20;

/// Settings that are the host's: of the process, of the file's other users, or of the wait
/// for locks. Many applications set the journal, so setting one of them does nothing.
const OURS: [&str; 15] = [
    "busy_timeout",
    "cache_size",
    "cache_spill",
    "data_store_directory",
    "default_cache_size",
    "hard_heap_limit",
    "journal_mode",
    "locking_mode",
    "mmap_size",
    "soft_heap_limit",
    "synchronous",
    "temp_store",
    "temp_store_directory",
    "wal_autocheckpoint",
    "writable_schema",
];

/// Sets the rules for a connection. With `attaches`, statements may attach other files.
pub(crate) fn set(connection: &mut Connection, attaches: bool) -> rusqlite::Result<()> {
    static LIMIT: Once = Once::new();
    let mut limited = Ok(());
    LIMIT.call_once(|| {
        limited =
            connection.pragma_update_and_check(None, "hard_heap_limit", MOST_MEMORY, |_| Ok(()));
    });
    limited?;
    // A pod need not have a folder for temporary files; memory has its limit.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        allows(&context.action, attaches)
    }))
}

fn allows(action: &AuthAction<'_>, attaches: bool) -> Authorization {
    match action {
        // VACUUM attaches a temporary file without a name.
        AuthAction::Attach { filename } if !attaches && !filename.is_empty() => Authorization::Deny,
        // A name that is not known before the statement runs.
        AuthAction::Unknown { code, .. } if !attaches && *code == ffi::SQLITE_ATTACH => {
            Authorization::Deny
        }
        AuthAction::Pragma {
            pragma_name,
            pragma_value: Some(_),
        } if OURS
            .iter()
            .any(|name| pragma_name.eq_ignore_ascii_case(name)) =>
        {
            Authorization::Ignore
        }
        _ => Authorization::Allow,
    }
}
