//! The store with a real server of PostgreSQL, which is also stopped and paused.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use futures::future::join_all;
use skiff_backend_postgres::PostgresKeyValue;
use skiff_backend_tls::Authorities;
use skiff_host::{KeyValueStore as _, MOST_RESULT, StoreError};
use support::{PASSWORD, PATIENCE, Server};

fn key(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn a_store_does_what_it_says() {
    let server = Server::start();
    let store = server.ready("a \"quoted\" label").await;
    let other = server.ready("other").await;
    assert_eq!(store.get("k", MOST_RESULT).await, Ok(None));
    store.set(key("k"), b"v".to_vec()).await.unwrap();
    store.set(key("k"), b"w".to_vec()).await.unwrap();
    store.set(key("empty"), vec![]).await.unwrap();
    assert_eq!(store.get("k", MOST_RESULT).await, Ok(Some(b"w".to_vec())));
    assert_eq!(store.get("empty", MOST_RESULT).await, Ok(Some(vec![])));
    assert_eq!(store.exists("k").await, Ok(true));
    assert_eq!(other.exists("k").await, Ok(false));
    let mut keys = store.keys(MOST_RESULT).await.unwrap();
    keys.sort();
    assert_eq!(keys, ["empty", "k"]);
    for _ in 0..2 {
        store.delete(key("k")).await.unwrap();
    }
    assert_eq!(store.exists("k").await, Ok(false));
    let twice = vec![
        (key("a"), b"1".to_vec()),
        (key("a"), b"2".to_vec()),
        (key("b"), vec![0xff]),
    ];
    store.set_many(twice).await.unwrap();
    let mut found = store
        .get_many(vec![key("b"), key("a"), key("k")], MOST_RESULT)
        .await
        .unwrap();
    found.sort();
    assert_eq!(
        found,
        [
            (key("a"), Some(b"2".to_vec())),
            (key("b"), Some(vec![0xff]))
        ]
    );
    store
        .delete_many(vec![key("a"), key("b"), key("k")])
        .await
        .unwrap();
    assert_eq!(store.keys(MOST_RESULT).await, Ok(vec![key("empty")]));
    let refused = store.set(key("zero\0"), vec![]).await;
    assert!(
        matches!(refused, Err(StoreError::Refused(_))),
        "{refused:?}"
    );
    atomics(&server, &store).await;
    wrong_password(&server).await;
}

async fn atomics(server: &Server, store: &PostgresKeyValue) {
    let other = server.store("a \"quoted\" label", PASSWORD, PATIENCE);
    let added = (0..100).map(|n| match n % 2 {
        0 => store.increment(key("n"), 1),
        _ => other.increment(key("n"), 1),
    });
    for sum in join_all(added).await {
        sum.unwrap();
    }
    assert_eq!(store.increment(key("n"), -1000).await, Ok(-900));
    assert_eq!(store.increment(key("n"), 0).await, Ok(-900));
    let bytes = (-900_i64).to_le_bytes().to_vec();
    assert_eq!(store.get("n", MOST_RESULT).await, Ok(Some(bytes)));
    assert_eq!(store.increment(key("most"), i64::MAX).await, Ok(i64::MAX));
    for name in ["most", "empty"] {
        let refused = store.increment(key(name), 1).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(_))),
            "{refused:?}"
        );
    }
    let swaps = (0..8_u8).map(|n| store.swap(key("s"), None, vec![n]));
    let swapped = join_all(swaps).await.into_iter();
    assert_eq!(swapped.filter(|swapped| *swapped == Ok(true)).count(), 1);
    let now = store.get("s", MOST_RESULT).await.unwrap();
    assert_eq!(
        store.swap(key("s"), Some(vec![99]), vec![]).await,
        Ok(false)
    );
    assert_eq!(store.swap(key("s"), now, b"new".to_vec()).await, Ok(true));
    assert_eq!(store.get("s", MOST_RESULT).await, Ok(Some(b"new".to_vec())));
}

async fn wrong_password(server: &Server) {
    let store = server.store("other", "swordfish", PATIENCE);
    let Err(StoreError::Failed(why)) = store.get("k", MOST_RESULT).await else {
        panic!("it was let in");
    };
    assert!(
        why.contains("`other`") && why.contains("password authentication failed"),
        "{why}"
    );
    for shown in [why, format!("{store:?}")] {
        assert!(!shown.contains("swordfish"), "{shown}");
    }
}

#[tokio::test]
async fn a_server_that_is_paused_or_stopped_is_waited_for_with_a_limit_and_found_again() {
    let mut server = Server::start();
    let store = server.ready("default").await;
    store.set(key("k"), b"v".to_vec()).await.unwrap();
    let hasty = server.store("default", PASSWORD, Duration::from_millis(400));
    hasty.get("k", MOST_RESULT).await.unwrap();
    server.signal(libc::SIGSTOP);
    let began = Instant::now();
    for failed in join_all((0..10).map(|_| hasty.get("k", MOST_RESULT))).await {
        assert!(
            matches!(&failed, Err(StoreError::Failed(why)) if why.contains("has not answered")),
            "{failed:?}"
        );
    }
    let failed = hasty.set(key("k"), vec![]).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    server.signal(libc::SIGCONT);
    server.ready("default").await;
    server.kill();
    for _ in 0..2 {
        let failed = store.get("k", MOST_RESULT).await;
        assert!(
            matches!(&failed, Err(StoreError::Failed(why)) if why.contains("postgres://127.0.0.1")),
            "{failed:?}"
        );
    }
    server.child = Server::spawn(server.folder.path(), server.port);
    server.ready("default").await;
    store.get("k", MOST_RESULT).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_none_of_postgresql_is_an_error_and_no_hang() {
    for says in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        // A message of two gigabytes, of which nothing comes.
        b"R\x7f\xff\xff\xff",
        // A message that is shorter than its own length.
        b"R\0\0\0\0",
        b"R\0\0\0\x08\0\0\0\x63",
        b"",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // As an answer to each thing that is sent.
                std::thread::spawn(move || {
                    while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                        let _ = stream.write_all(says);
                    }
                });
            }
        });
        let url = format!("postgres://skiff:{PASSWORD}@127.0.0.1:{port}/postgres");
        let shown = format!("postgres://127.0.0.1:{port}/postgres");
        let wait = Duration::from_millis(300);
        let store =
            PostgresKeyValue::new("default", &url, shown, None, wait, &Authorities::default())
                .unwrap();
        let began = Instant::now();
        for failed in [
            store.get("k", MOST_RESULT).await.err(),
            store.set(key("k"), vec![]).await.err(),
        ] {
            let Some(StoreError::Failed(why)) = failed else {
                panic!("{says:?}: {failed:?}");
            };
            assert!(
                why.contains("`default`") && !why.contains(PASSWORD),
                "{why}"
            );
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{says:?}");
    }
}

/// A number of `/proc/self/status`, in bytes.
fn memory(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().trim_end_matches("kB").trim();
    number.parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn what_is_too_large_is_refused_without_the_memory_for_it() {
    let server = Server::start();
    let store = server.ready("default").await;
    let rows = "INSERT INTO skiff_default SELECT name, convert_to(repeat('x', mib << 20), 'UTF8')
                FROM (VALUES ('huge', 200), ('large', 70), ('also', 70)) AS t (name, mib)";
    server.execute(rows).await;
    let before = memory("VmRSS:");
    // From now on, the peak is counted anew.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let both = vec![key("large"), key("also")];
    for (refused, why) in [
        (
            store.get("huge", MOST_RESULT).await.err(),
            "the value has more than 134217728 bytes",
        ),
        (
            store.get("large", 8 << 20).await.err(),
            "8388608 bytes, all that the guest's memory limit leaves",
        ),
        (
            store.get_many(both, MOST_RESULT).await.err(),
            "the values have more than 134217728 bytes",
        ),
        (
            store.keys(40).await.err(),
            "its keys have more than 40 bytes",
        ),
    ] {
        let told = matches!(&refused, Some(StoreError::Refused(told)) if told.contains(why));
        assert!(told, "{why}: {refused:?}");
    }
    let peak = memory("VmHWM:");
    assert!(peak < before + (32 << 20), "{before} became {peak}");
    let value = store.get("large", MOST_RESULT).await.unwrap();
    assert_eq!(value.map(|value| value.len()), Some(70 << 20));
    let many = store.get_many(vec![key("large")], 70 << 20).await;
    assert_eq!(many.unwrap().len(), 1);
}
