//! SQLite databases as a guest finds them under `skiff run`: through every version of the
//! interface, and what the SQL of a guest may not do.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use support::{Running, Skiff};

const VERSIONS: [&str; 4] = ["v1", "v2", "v3", "p3"];

/// Their guests.
const GUESTS: [&str; 4] = ["sqlite-v1", "sqlite-v2", "sqlite-v3", "sqlite-p3"];

fn application(grant: &str) -> Skiff {
    let component = |guest: &str| {
        let version = guest.trim_start_matches("sqlite-");
        format!(
            "[[trigger.http]]\nroute = \"/{version}\"\ncomponent = \"{version}\"\n[component.{version}]\nsource = \"{{guest:{guest}}}\"\n{grant}\n"
        )
    };
    let components: String = GUESTS.map(component).concat();
    Skiff::manifest(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"a\"\n{components}"
    ))
}

const GRANT: &str = "sqlite_databases = [\"default\"]";

/// Runs statements, one a line, and answers with the last one's columns and rows.
fn run(skiff: &Running, version: &str, statements: &str) -> (u16, String) {
    let answer = match version {
        "p3" => skiff.get(&format!("/p3?sql={}", statements.replace(' ', "+"))),
        _ => skiff.post(&format!("/{version}"), statements),
    };
    (answer.status, answer.text())
}

#[track_caller]
fn finds(skiff: &Running, version: &str, statements: &str, expected: &str) {
    let found = run(skiff, version, statements);
    assert_eq!(found, (200, expected.to_owned()), "{version}: {statements}");
}

#[track_caller]
fn fails(skiff: &Running, version: &str, statements: &str, reason: &str) {
    let (status, text) = run(skiff, version, statements);
    assert_eq!(status, 500, "{version}: {statements}: {text}");
    assert!(text.contains(reason), "{version}: {statements}: {text}");
}

#[test]
fn a_database_is_one_through_every_version_of_the_interface() {
    let skiff = application(GRANT).start();
    finds(
        &skiff,
        "p3",
        "CREATE TABLE pets (name TEXT, age)",
        "0 changed, row 0",
    );
    for (version, name) in VERSIONS.iter().zip(["ada", "bob", "cleo", "dora"]) {
        let insert = format!("INSERT INTO pets VALUES ('{name}', 1)");
        let (status, text) = run(&skiff, version, &insert);
        assert_eq!(status, 200, "{text}");
    }
    let all = "name,age\nada,1\nbob,1\ncleo,1\ndora,1";
    for version in VERSIONS {
        finds(
            &skiff,
            version,
            "SELECT name, age FROM pets ORDER BY name",
            all,
        );
        fails(
            &skiff,
            version,
            "SELECT colour FROM pets",
            "no such column: colour",
        );
        fails(&skiff, version, "SELEC 1", "syntax error");
    }
    let inserted = "INSERT INTO pets VALUES (?1, ?2), ('finn', 3)|eve|2\nchanges";
    finds(&skiff, "v3", inserted, "\n2,6");
    let types = "SELECT 1, 2.5, 'text', x'0102', NULL, ?|given";
    for version in ["v1", "v2", "v3"] {
        let (status, text) = run(&skiff, version, types);
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("\n1,2.5,text,[1, 2],null,given"), "{text}");
        fails(&skiff, version, "SELECT ?|a|b", "parameter");
    }
    finds(&skiff, "v2", " ", "");
}

#[test]
fn of_several_statements_in_a_text_the_first_runs_and_the_operator_is_told() {
    let skiff = application(GRANT).start();
    finds(&skiff, "v2", "CREATE TABLE t (n); -- one statement ;", "");
    for version in VERSIONS {
        for rest in ["DROP TABLE t", "SELEC"] {
            finds(&skiff, version, &format!("SELECT 1; {rest}"), "1\n1");
        }
    }
    finds(&skiff, "v2", "SELECT count(*) FROM t;", "count(*)\n0");
    let stderr = skiff.stop().stderr;
    let told = stderr.matches("Only the first statement of a text has run");
    assert_eq!(told.count(), 8, "{stderr}");
}

#[test]
fn statements_of_a_connection_are_one_transaction_and_end_with_it() {
    let skiff = application(GRANT).start();
    finds(
        &skiff,
        "v2",
        "CREATE TABLE t (n)\nBEGIN\nINSERT INTO t VALUES (1)\nSELECT n FROM t",
        "n\n1",
    );
    // The request has ended without a commit.
    finds(&skiff, "v2", "SELECT count(*) FROM t", "count(*)\n0");
    finds(
        &skiff,
        "v3",
        "BEGIN\nINSERT INTO t VALUES (2)\nCOMMIT\nSELECT n FROM t",
        "n\n2",
    );
    finds(
        &skiff,
        "v1",
        "CREATE TEMP TABLE own (n)\nSELECT count(*) FROM own",
        "count(*)\n0",
    );
    fails(&skiff, "v1", "SELECT * FROM own", "no such table: own");
}

#[test]
fn a_database_that_is_not_listed_is_denied_and_told() {
    let skiff = application("").start();
    for version in VERSIONS {
        fails(&skiff, version, "SELECT 1", "AccessDenied");
    }
    let stderr = skiff.stop().stderr;
    assert_eq!(stderr.matches("nothing grants it").count(), 4, "{stderr}");
}

#[test]
fn an_instance_has_no_more_connections_than_256() {
    let skiff = application(GRANT).start();
    let ask = |connections: usize| {
        let path = format!("/v2?connections={connections}");
        skiff.post(&path, "SELECT 1").text()
    };
    assert_eq!(ask(256), "1\n1");
    assert!(ask(257).contains("too many connections opened"));
    assert_eq!(ask(256), "1\n1");
}

#[test]
fn other_files_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (n)")
        .unwrap();
    let skiff = application(GRANT).start();
    let path = other.display();
    for statement in [
        format!("ATTACH '{path}' AS other"),
        format!("ATTACH 'file:{path}?mode=ro' AS other"),
        format!("ATTACH ? AS other|{path}"),
        format!("ATTACH lower('{path}') AS other"),
        format!("VACUUM INTO '{path}.copy'"),
    ] {
        fails(&skiff, "v2", &statement, "authoriz");
    }
    fails(
        &skiff,
        "v2",
        "SELECT load_extension('/lib/x.so')",
        "not authorized",
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    finds(&skiff, "v2", "VACUUM\nSELECT 1", "1\n1");
}

#[test]
fn settings_of_the_host_stay_as_they_are() {
    let skiff = application(GRANT).start();
    for (setting, value, kept) in [
        ("journal_mode", "DELETE", "wal"),
        ("synchronous", "OFF", "2"),
        ("locking_mode", "EXCLUSIVE", "normal"),
        ("hard_heap_limit", "1", "402653184"),
    ] {
        let statements = format!("PRAGMA {setting} = {value}\nPRAGMA {setting}");
        finds(&skiff, "v2", &statements, &format!("{setting}\n{kept}"));
    }
    finds(
        &skiff,
        "v2",
        "PRAGMA user_version = 7\nPRAGMA user_version",
        "user_version\n7",
    );
    finds(&skiff, "v2", "PRAGMA foreign_keys", "foreign_keys\n1");
}

#[test]
fn text_that_is_not_utf_8_is_an_error() {
    let skiff = application(GRANT).start();
    for version in VERSIONS {
        fails(
            &skiff,
            version,
            "SELECT CAST(x'ff61' AS TEXT) AS name",
            "column `name` is text that is not UTF-8",
        );
    }
    finds(&skiff, "v2", "SELECT 1", "1\n1");
}

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[test]
fn a_query_without_end_ends_with_its_request_and_keeps_nobody_waiting() {
    let skiff = application(GRANT).env("SKIFF_WORKERS", "1");
    let skiff = skiff.env("SKIFF_REQUEST_TIMEOUT", "500ms").start();
    // More than there are threads for queries: those of requests that are over are free.
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let queries = (0..32).map(|_| scope.spawn(|| run(&skiff, "v2", ENDLESS).0));
            let queries: Vec<_> = queries.collect();
            let began = Instant::now();
            assert_eq!(skiff.get(support::HEALTH).status, 200);
            assert!(
                began.elapsed() < Duration::from_millis(400),
                "{:?}",
                began.elapsed()
            );
            for query in queries {
                assert_eq!(query.join().unwrap(), 504);
            }
        });
    }
    finds(&skiff, "v2", "SELECT 1", "1\n1");
}

#[test]
fn a_result_of_any_size_takes_bounded_memory() {
    let skiff = application(GRANT).start();
    let large = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT zeroblob(1000000) FROM n";
    fails(
        &skiff,
        "v2",
        large,
        "the result has more than 134217728 bytes",
    );
    fails(&skiff, "v2", "SELECT zeroblob(1000000000)", "too big");
    let sorted = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT count(*) FROM (SELECT printf('%s%d', hex(zeroblob(1000000)), i) AS a FROM n ORDER BY a)";
    let (status, text) = run(&skiff, "v2", sorted);
    assert!(status == 200 || text.contains("out of memory"), "{text}");
    finds(&skiff, "v2", "SELECT 1", "1\n1");
}

/// An application with its database in a folder of the test.
fn in_folder(folder: &Path) -> Running {
    let skiff = application(GRANT).env("SKIFF_STORE_DIR", folder.to_str().unwrap());
    skiff.env("SKIFF_STORE_TIMEOUT", "300ms").start()
}

#[test]
fn a_database_that_does_not_work_is_told_to_guest_and_operator() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sqlite.db");
    fs::write(&file, [b'x'; 4096]).unwrap();
    let skiff = in_folder(folder.path());
    fails(
        &skiff,
        "v2",
        "SELECT 1 FROM sqlite_schema",
        "not a database",
    );
    fails(
        &skiff,
        "v2",
        "SELECT 1 FROM sqlite_schema",
        &format!("`{}`", file.display()),
    );
    let stderr = skiff.stop().stderr;
    assert!(stderr.contains("A database does not work"), "{stderr}");
}

#[test]
fn a_database_that_another_process_has_locked_is_waited_for_with_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let skiff = in_folder(folder.path());
    finds(&skiff, "v2", "CREATE TABLE t (n)", "");
    let other = Connection::open(folder.path().join("sqlite.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    finds(&skiff, "v2", "SELECT count(*) FROM t", "count(*)\n0");
    fails(
        &skiff,
        "v2",
        "INSERT INTO t VALUES (1)",
        "locked by another connection",
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&skiff, "v2", "INSERT INTO t VALUES (1)"));
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(waiting.join().unwrap().0, 200);
    });
}
