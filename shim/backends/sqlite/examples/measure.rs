//! What the key-value store costs: a read beside a bare one of rusqlite, and eight writers
//! beside one. To be run from the checkout's root:
//! `cargo run --release --workspace --example measure`.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rusqlite::{Connection, OptionalExtension as _};
use skiff_backend_sqlite::{File, Place, SqliteKeyValue};
use skiff_host::{KeyValueStore as _, MOST_RESULT};

const READS: u32 = 100_000;

/// How long a lock is waited for.
const WAIT: Duration = Duration::from_secs(5);

/// How long writers write.
const TIME: Duration = Duration::from_secs(2);

fn main() {
    // Not in /tmp, which is often in memory.
    let folder = tempfile::tempdir_in("target").expect("a folder");
    let path = folder.path().join("store.db");
    let file = File::new(path.clone(), Place::Local, WAIT);
    let store = SqliteKeyValue::new("default", file);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        store
            .set("key".to_owned(), vec![7; 100])
            .await
            .expect("set");
        store.get("key", MOST_RESULT).await.expect("get");
        let began = Instant::now();
        for _ in 0..READS {
            store.get("key", MOST_RESULT).await.expect("get");
        }
        let own = began.elapsed() / READS;
        let bare = bare(&path);
        let times = own.as_secs_f64() / bare.as_secs_f64();
        println!("get {own:?}, bare {bare:?}: {times:.2} times");
        let one = writes(&store, 1).await;
        let eight = writes(&store, 8).await;
        println!(
            "{one:.0} sets a second of one writer, {eight:.0} of eight: {:.2} times",
            eight / one
        );
    });
}

/// A read as any program of rusqlite does it.
fn bare(path: &Path) -> Duration {
    let connection = Connection::open(path).expect("the file");
    let read = || -> rusqlite::Result<Option<Vec<u8>>> {
        let sql = "SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2";
        let mut statement = connection.prepare_cached(sql)?;
        statement
            .query_row(("default", "key"), |row| row.get(0))
            .optional()
    };
    read().expect("a value");
    let began = Instant::now();
    for _ in 0..READS {
        read().expect("a value");
    }
    began.elapsed() / READS
}

/// Sets a second of all writers together.
async fn writes(store: &SqliteKeyValue, writers: usize) -> f64 {
    let began = Instant::now();
    let writer = |writer: usize| async move {
        let mut done = 0_u32;
        while began.elapsed() < TIME {
            store
                .set(format!("{writer}"), vec![7; 100])
                .await
                .expect("set");
            done += 1;
        }
        done
    };
    let done: u32 = join_all((0..writers).map(writer)).await.into_iter().sum();
    f64::from(done) / began.elapsed().as_secs_f64()
}
