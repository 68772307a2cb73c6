//! A database in a server of libSQL as guests find it under `skiff run`: the same as one in a
//! file. The server is a stand-in of ours.

mod support;

#[path = "../backends/libsql/tests/libsql/server.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod server;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use server::{Does, Server, TOKEN};
use support::{Running, Skiff};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const GUESTS: [&str; 4] = ["sqlite-v1", "sqlite-v2", "sqlite-v3", "sqlite-p3"];

/// A server on a thread of its own, which ends with the test's process.
fn server() -> Server {
    let (started, server) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            started.send(Server::start().await).ok();
            std::future::pending::<()>().await;
        });
    });
    server.recv().unwrap()
}

/// An application with a component for each version of the interface.
fn application(url: &str, token: &str) -> Skiff {
    let component = |guest: &str| {
        format!(
            "[[trigger.http]]\nroute = \"/{guest}\"\ncomponent = \"{guest}\"\n[component.{guest}]\nsource = \"{{guest:{guest}}}\"\nsqlite_databases = [\"default\"]\n"
        )
    };
    let components: String = GUESTS.map(component).concat();
    let manifest = format!("spin_manifest_version = 2\n[application]\nname = \"a\"\n{components}");
    let config = format!(
        "[sqlite_database.default]\ntype = \"libsql\"\nurl = \"{url}\"\ntoken = \"{token}\"\n"
    );
    let skiff = Skiff::manifest(&manifest).file("runtime-config.toml", &config);
    let file = skiff.folder().join("runtime-config.toml");
    skiff.args(&["--runtime-config-file", file.to_str().unwrap()])
}

/// Runs statements, one a line, and answers with the last one's columns and rows.
fn run(skiff: &Running, guest: &str, statements: &str) -> (u16, String) {
    let answer = match guest {
        "sqlite-p3" => skiff.get(&format!("/{guest}?sql={}", statements.replace(' ', "+"))),
        _ => skiff.post(&format!("/{guest}"), statements),
    };
    (answer.status, answer.text())
}

#[test]
fn a_database_in_a_server_is_one_through_every_version_of_the_interface() {
    let server = server();
    let skiff = application(&server.url(), TOKEN).start();
    let (status, text) = run(&skiff, GUESTS[1], "CREATE TABLE pets (name TEXT, age)");
    assert_eq!(status, 200, "{text}");
    for (guest, name) in GUESTS.iter().zip(["ada", "bob", "cleo", "dora"]) {
        let (status, text) = run(
            &skiff,
            guest,
            &format!("INSERT INTO pets VALUES ('{name}', 1)"),
        );
        assert_eq!(status, 200, "{guest}: {text}");
    }
    for guest in GUESTS {
        let all = run(&skiff, guest, "SELECT name FROM pets ORDER BY name");
        assert_eq!(
            all,
            (200, "name\nada\nbob\ncleo\ndora".to_owned()),
            "{guest}"
        );
        let (status, text) = run(&skiff, guest, "SELECT colour FROM pets");
        assert!(
            status == 500 && text.contains("no such column: colour"),
            "{text}"
        );
    }
    // What a request has not committed is undone.
    let begun = "BEGIN\nDELETE FROM pets\nSELECT count(*) FROM pets";
    assert_eq!(run(&skiff, GUESTS[1], begun).1, "count(*)\n0");
    let count = run(&skiff, GUESTS[2], "SELECT count(*) FROM pets");
    assert_eq!(count.1, "count(*)\n4");
    let until = Instant::now() + PATIENCE;
    while server.streams() > 0 {
        assert!(Instant::now() < until, "streams stay open");
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = skiff.stop();
    assert!(!ended.stderr.contains(TOKEN), "{}", ended.stderr);
}

#[test]
fn a_server_that_does_not_work_is_told_to_guest_and_operator() {
    let server = server();
    let skiff = application(&server.url(), "another-s3cret").start();
    let mut told = String::new();
    for (does, reason) in [
        (Does::Works, "access is denied (status 401)"),
        (
            Does::Answers(200, "another-s3cret".into()),
            "not what the protocol says",
        ),
    ] {
        server.does(does);
        let (status, text) = run(&skiff, GUESTS[1], "SELECT 1");
        assert!(status == 500 && text.contains(reason), "{text}");
        told += &text;
    }
    let ended = skiff.stop();
    assert!(
        ended.stderr.contains("A database does not work"),
        "{}",
        ended.stderr
    );
    told += &ended.stderr;
    assert!(!told.contains("another-s3cret"), "{told}");
}
