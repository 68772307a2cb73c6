//! The store by itself: what fails, what is bounded, and who may use a file at once.

use std::fs;
use std::future::Future;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use skiff_backend_sqlite::{File, Place, SqliteDatabase, SqliteKeyValue};
use skiff_host::{Database as _, DatabaseConnection, KeyValueStore as _, MOST_RESULT, StoreError};

const WAIT: Duration = Duration::from_secs(20);

fn store(folder: &Path, label: &str, place: Place) -> SqliteKeyValue {
    let file = File::new(folder.join("store.db"), place, WAIT);
    SqliteKeyValue::new(label, file)
}

/// A guest's connection to a database.
fn database(folder: &Path, name: &str, place: Place) -> Box<dyn DatabaseConnection> {
    let file = File::new(folder.join(name), place, WAIT);
    SqliteDatabase::new("default", file, false).connect()
}

fn key(text: &str) -> String {
    text.to_owned()
}

/// Runs something as a worker does: on one thread.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

#[test]
fn stores_of_one_file_do_not_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|label| store(folder.path(), label, Place::Local));
    run(async {
        one.set(key("k"), b"1".to_vec()).await.unwrap();
        assert_eq!(other.get("k", MOST_RESULT).await, Ok(None));
        other.set(key("k"), b"2".to_vec()).await.unwrap();
        one.delete(key("k")).await.unwrap();
        assert_eq!(one.keys(MOST_RESULT).await, Ok(vec![]));
        // The second read goes on the spot.
        for _ in 0..2 {
            assert_eq!(other.get("k", MOST_RESULT).await, Ok(Some(b"2".to_vec())));
            assert_eq!(other.exists("k").await, Ok(true));
        }
    });
}

/// Two stores of one file are to SQLite what two processes are.
#[test]
fn many_writers_of_several_processes_lose_nothing() {
    for place in [Place::Local, Place::Network] {
        let folder = tempfile::tempdir().unwrap();
        let add = |times: i64| {
            let store = store(folder.path(), "default", place);
            run(async move {
                let all = (0..times).map(|_| store.increment(key("n"), 1));
                for sum in join_all(all).await {
                    sum.unwrap();
                }
            });
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| add(50));
            }
        });
        let sum = run(store(folder.path(), "default", place).increment(key("n"), 0));
        assert_eq!(sum, Ok(200), "{place:?}");
        let journal = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
        let journal: String = journal
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        let expected = if place == Place::Local {
            "wal"
        } else {
            "delete"
        };
        assert_eq!(journal, expected);
    }
}

#[test]
fn one_write_that_is_refused_leaves_the_others_of_its_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), "default", Place::Local);
    run(async {
        store.set(key("text"), b"text".to_vec()).await.unwrap();
        store
            .set(key("most"), i64::MAX.to_le_bytes().to_vec())
            .await
            .unwrap();
        let (set, text, most, sum) = futures::join!(
            store.set(key("a"), b"1".to_vec()),
            store.increment(key("text"), 1),
            store.increment(key("most"), 1),
            store.increment(key("n"), 3),
        );
        assert_eq!((set, sum), (Ok(()), Ok(3)));
        for refused in [text, most] {
            assert!(
                matches!(refused, Err(StoreError::Refused(_))),
                "{refused:?}"
            );
        }
        assert_eq!(
            store.get("text", MOST_RESULT).await,
            Ok(Some(b"text".to_vec()))
        );
        assert_eq!(store.get("a", MOST_RESULT).await, Ok(Some(b"1".to_vec())));
    });
}

#[test]
fn a_swap_happens_for_one_of_those_who_saw_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), "default", Place::Local);
    run(async {
        let swaps = (0..8_u8).map(|n| store.swap(key("k"), None, vec![n]));
        let swapped = join_all(swaps).await;
        let swapped = swapped.into_iter().filter(|swapped| *swapped == Ok(true));
        assert_eq!(swapped.count(), 1);
        let now = store.get("k", MOST_RESULT).await.unwrap();
        assert!(store.swap(key("k"), now, b"new".to_vec()).await.unwrap());
        assert!(!store.swap(key("k"), None, b"newer".to_vec()).await.unwrap());
        assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(b"new".to_vec())));
    });
}

#[test]
fn more_than_a_result_may_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), "default", Place::Local);
    run(async {
        let half = vec![0; 70 << 20];
        for name in ["a", "b"] {
            store.set(key(name), half.clone()).await.unwrap();
        }
        let one = store
            .get_many(vec![key("a"), key("missing")], MOST_RESULT)
            .await;
        assert_eq!(one.unwrap().len(), 1);
        let both = store.get_many(vec![key("a"), key("b")], MOST_RESULT).await;
        let Err(StoreError::Refused(why)) = both else {
            panic!("{both:?}");
        };
        assert!(
            why.contains("`default`") && why.contains("134217728"),
            "{why}"
        );
        let larger = store.set(key("c"), vec![0; 130 << 20]).await;
        assert!(matches!(&larger, Err(StoreError::Refused(why)) if why.contains("larger")));
        assert_eq!(store.exists("c").await, Ok(false));
    });
}

#[test]
fn a_file_that_was_replaced_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    fs::write(&path, [b'x'; 8192]).unwrap();
    let store = store(folder.path(), "default", Place::Local);
    run(async {
        for _ in 0..2 {
            let failed = store.get("k", MOST_RESULT).await;
            assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
            let failed = store.set(key("k"), vec![]).await;
            assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
        }
        fs::remove_file(&path).unwrap();
        store.set(key("k"), vec![]).await.unwrap();
        assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(vec![])));
    });
}

/// The name of the test that a process of its own runs, and its folder.
const INNER: [&str; 2] = ["SKIFF_TEST_INNER", "SKIFF_TEST_FOLDER"];

/// Runs the test `name` again in a process that was changed by `change`; true in that one.
#[expect(clippy::disallowed_methods, reason = "a test passes values to itself")]
fn again(name: &str, folder: &Path, change: impl FnOnce(&mut Command)) -> bool {
    if std::env::var(INNER[0]).is_ok() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]);
    command.env(INNER[0], name).env(INNER[1], folder);
    change(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    false
}

#[expect(clippy::disallowed_methods, reason = "a test passes values to itself")]
fn inner_folder() -> std::path::PathBuf {
    std::env::var_os(INNER[1]).unwrap().into()
}

#[test]
fn a_file_that_may_only_be_read_is_read() {
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let may = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
    may(folder.path(), 0o755).unwrap();
    let path = folder.path().join("store.db");
    if !path.exists() {
        // With the journal of a file that nobody else uses.
        let first = store(folder.path(), "default", Place::Network);
        run(first.set(key("k"), b"v".to_vec())).unwrap();
        may(&path, 0o444).unwrap();
    }
    let as_nobody = |command: &mut Command| {
        use std::os::unix::process::CommandExt as _;
        // SAFETY: no preconditions.
        if unsafe { libc::geteuid() } == 0 {
            chown(folder.path(), Some(0), Some(0)).unwrap();
            command.uid(NOBODY);
        }
    };
    if !again(
        "a_file_that_may_only_be_read_is_read",
        folder.path(),
        as_nobody,
    ) {
        return;
    }
    let store = store(&inner_folder(), "default", Place::Network);
    run(async {
        assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(b"v".to_vec())));
        let failed = store.set(key("k"), b"w".to_vec()).await;
        assert!(
            matches!(&failed, Err(StoreError::Failed(why)) if why.contains("readonly")),
            "{failed:?}"
        );
        assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(b"v".to_vec())));
        let database = database(&inner_folder(), "store.db", Place::Network);
        let asked = async |sql: &str| database.execute(sql.to_owned(), Vec::new()).await;
        let found = asked("SELECT name FROM sqlite_schema").await;
        assert!(!found.unwrap().rows.is_empty());
        let failed = asked("CREATE TABLE t (v)").await;
        assert!(
            matches!(&failed, Err(StoreError::Failed(why)) if why.contains("readonly")),
            "{failed:?}"
        );
    });
}

/// Runs the test `name` again with a small file system in `folder`, which ends with the
/// process; true in that one.
fn on_a_small_disk(name: &str, folder: &Path) -> bool {
    again(name, folder, |command: &mut Command| {
        let mut mounted = Command::new("unshare");
        let mount = "mount -t tmpfs -o size=400k tmpfs \"$0\" && exec \"$@\"";
        mounted.args(["--mount", "sh", "-c", mount]).arg(folder);
        mounted.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            mounted.env(name, value.unwrap_or_default());
        }
        *command = mounted;
    })
}

#[test]
fn a_full_disk_fails_the_write_and_keeps_what_was_there() {
    const NAME: &str = "a_full_disk_fails_the_write_and_keeps_what_was_there";
    let folder = tempfile::tempdir().unwrap();
    if !on_a_small_disk(NAME, folder.path()) {
        return;
    }
    let store = store(&inner_folder(), "default", Place::Local);
    run(async {
        store.set(key("k"), b"v".to_vec()).await.unwrap();
        let failed = store.set(key("large"), vec![7; 1 << 20]).await;
        assert!(
            matches!(&failed, Err(StoreError::Failed(why)) if why.contains("full")),
            "{failed:?}"
        );
        assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(b"v".to_vec())));
        assert_eq!(store.exists("large").await, Ok(false));
        store.set(key("k"), b"w".to_vec()).await.unwrap();
        assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(b"w".to_vec())));
    });
}

#[test]
fn a_full_disk_fails_the_statement_and_keeps_what_was_there() {
    const NAME: &str = "a_full_disk_fails_the_statement_and_keeps_what_was_there";
    let folder = tempfile::tempdir().unwrap();
    if !on_a_small_disk(NAME, folder.path()) {
        return;
    }
    run(async {
        let database = database(&inner_folder(), "data.db", Place::Local);
        let asked = async |sql: &str| database.execute(sql.to_owned(), Vec::new()).await;
        asked("CREATE TABLE t (v)").await.unwrap();
        asked("INSERT INTO t VALUES (1)").await.unwrap();
        let failed = asked("INSERT INTO t VALUES (zeroblob(1000000))").await;
        assert!(
            matches!(&failed, Err(StoreError::Failed(why)) if why.contains("full")),
            "{failed:?}"
        );
        let rows = asked("SELECT * FROM t").await.unwrap().rows;
        assert_eq!(rows.len(), 1);
    });
}
